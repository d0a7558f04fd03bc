"""The scoring program itself, killed and restarted, and its files damaged."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from scripts import aggregate_scores, fetch_benchmark, fetch_model, score_benchmark
from scripts.lib import files
from scripts.lib.plan import read_frozen
from scripts.lib.planning import plan_invocation
from scripts.lib.respondent import Respondent
from scripts.lib.score_files import QUESTIONS_TABLE
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import rows, write_rows
from tests.workspace import ROOT

SUBJECTS = ("abstract_algebra", "anatomy", "astronomy", "college_biology", "philosophy")
QUESTIONS = 30


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Stand in a folder with a model and a benchmark fetched, and a plan to score them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    make_tiny_model(tmp_path / "model")
    for subject in SUBJECTS:
        write_rows(tmp_path / "mmlu/test" / f"{subject}.jsonl", rows(subject, QUESTIONS))
        write_rows(tmp_path / "mmlu/dev" / f"{subject}.jsonl", rows(subject, 5, salt="Example "))
    benchmarks = {"mmlu": {"kind": "mmlu", "path": "mmlu", "shots": 5}}
    return plan_invocation({"models": {"tiny": {"path": "model"}}, "benchmarks": benchmarks}, ROOT)


def ids_of(invocation, stage):
    """Return the artifacts of a stage in the plan."""
    return [id for id in read_frozen(invocation.file)["artifacts"] if id.startswith(f"{stage}/")]


def command(invocation, id):
    """Return the arguments with which a rule makes an artifact."""
    reads = read_frozen(invocation.file)["artifacts"][id]["reads"]
    found = ["--plan", str(invocation.file)]
    found += ["--artifact", f"results/{id}", "--manifest", f"results/{id}.json"]
    for name in {"model", "benchmark"} & reads.keys():
        found += [f"--{name}", reads[name][0][1]]
    return found


def make(invocation, stage, program):
    """Make the artifacts of a stage in this process and return their folders."""
    for id in ids_of(invocation, stage):
        program.main(command(invocation, id))
    return [Path("results") / id for id in ids_of(invocation, stage)]


def journalled():
    """Return how many blocks of questions the journal holds."""
    return sum("benchmarks" not in file.parts for file in Path("results").rglob("*.jsonl"))


def killed_after(invocation, blocks, wait):
    """Start scoring, kill it *wait* seconds after *blocks* are journalled; tell if it was at it."""
    (id,) = ids_of(invocation, "scores")
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.score_benchmark", *command(invocation, id)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and journalled() < blocks:
        time.sleep(0.002)
    time.sleep(wait)
    at_it = process.poll() is None
    process.kill()
    process.wait()
    return at_it


def test_no_question_is_lost_or_counted_twice_when_the_program_is_killed(project):
    make(project, "models", fetch_model)
    make(project, "benchmarks", fetch_benchmark)
    killed = killed_after(project, blocks=1, wait=random.uniform(0, 0.05))
    (score,) = make(project, "scores", score_benchmark)
    table = (score / QUESTIONS_TABLE).read_bytes()
    asked = pq.read_table(score / QUESTIONS_TABLE)["question_id"].to_pylist()
    assert killed
    assert asked == [f"{subject}:{n}" for subject in SUBJECTS for n in range(QUESTIONS)]
    # The journal is gone with the artifact, so this is an unbroken run.
    shutil.rmtree(score)
    score.with_name(f"{score.name}.json").unlink()
    assert journalled() == 0
    make(project, "scores", score_benchmark)
    assert (score / QUESTIONS_TABLE).read_bytes() == table


def make_other_weights(invocation):
    """Make the model of the project anew under its key, of other bytes."""
    (id,) = ids_of(invocation, "models")
    folder = Path("results") / id
    weights = load_file(folder / "model.safetensors")
    other = {name: 2 * tensor for name, tensor in weights.items()}
    save_file(other, folder / "model.safetensors", metadata={"format": "pt"})
    place = folder.with_name(f"{folder.name}.json")
    listed = files.list_files(folder)
    files.write_json(
        place,
        files.read_json(place)
        | {"files": [one._asdict() for one in listed], "content": files.content_of(listed)},
    )


def test_a_journal_of_other_weights_under_the_same_key_is_not_believed(project, monkeypatch):
    make(project, "models", fetch_model)
    make(project, "benchmarks", fetch_benchmark)
    answer = Respondent.answer

    def stop(self, block):
        if block[0].subject != SUBJECTS[0]:
            raise KeyboardInterrupt
        return answer(self, block)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Respondent, "answer", stop)
        make(project, "scores", score_benchmark)
    assert journalled() == 1
    make_other_weights(project)
    (score,) = make(project, "scores", score_benchmark)
    resumed = pq.read_table(score / QUESTIONS_TABLE)
    assert journalled() == 0
    shutil.rmtree(score)
    score.with_name(f"{score.name}.json").unlink()
    make(project, "scores", score_benchmark)
    assert resumed.equals(pq.read_table(score / QUESTIONS_TABLE))


def test_a_damaged_score_file_is_an_error_and_not_averaged(project):
    make(project, "models", fetch_model)
    make(project, "benchmarks", fetch_benchmark)
    (score,) = make(project, "scores", score_benchmark)
    table = pq.read_table(score / QUESTIONS_TABLE).to_pylist()
    for row in table[:7]:
        row["correct"] = not row["correct"]
    pq.write_table(pa.Table.from_pylist(table), score / QUESTIONS_TABLE)
    with pytest.raises(SystemExit, match=QUESTIONS_TABLE):
        make(project, "categories", aggregate_scores)
    assert not list(Path("results/categories").glob("*/*.json"))

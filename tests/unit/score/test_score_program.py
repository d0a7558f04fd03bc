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
from scripts.lib.plan.invocation import plan_invocation
from scripts.lib.score import scoring
from scripts.lib.score.files import QUESTIONS_TABLE
from scripts.lib.score.respondent import Respondent
from scripts.tools.frozen_commands import commands
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


def make(invocation, stage, program):
    """Make the artifacts of a stage in this process and return their folders."""
    for command in commands(invocation.file, stage):
        program.main(command.argv)
    return [Path("results") / id for job in commands(invocation.file, stage) for id in job.ids]


def answers():
    """Return the tables of all scores, by the name of their folders."""
    return {path.parent.name: path.read_bytes() for path in Path("results").rglob(QUESTIONS_TABLE)}


def remove(folders):
    """Delete artifacts with their manifests."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.json").unlink(missing_ok=True)


def journalled():
    """Return how many blocks of questions the journal holds."""
    return sum("benchmarks" not in file.parts for file in Path("results").rglob("*.jsonl"))


def killed_after(invocation, subjects, wait):
    """Start scoring, kill it *wait* seconds after so many subjects are made; tell if it was on."""
    (job,) = commands(invocation.file, "scores")
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.score_benchmark", *job.argv],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and len(list(Path("results/scores").glob("*.json"))) < subjects:
        time.sleep(0.002)
    time.sleep(wait)
    at_it = process.poll() is None
    process.kill()
    process.wait()
    return at_it


def test_no_question_is_lost_or_counted_twice_when_the_program_is_killed(project, monkeypatch):
    make(project, "models", fetch_model)
    make(project, "benchmarks", fetch_benchmark)
    assert killed_after(project, subjects=2, wait=random.uniform(0, 0.05))
    finished = answers()
    assert 2 <= len(finished) < len(SUBJECTS)
    asked = []
    answer = Respondent.answer
    with monkeypatch.context() as patched:
        patched.setattr(
            Respondent, "answer", lambda self, block: asked.append(block) or answer(self, block)
        )
        scores = make(project, "scores", score_benchmark)
    assert len(asked) <= len(SUBJECTS) - len(finished), "what was finished is not asked again"
    table = answers()
    assert finished.items() <= table.items()
    rows = [row for score in sorted(scores) for row in ids_in(score)]
    assert rows == [f"{subject}:{n}" for subject in SUBJECTS for n in range(QUESTIONS)]
    # The journal is gone with the artifacts, so this is an unbroken run.
    remove(scores)
    assert journalled() == 0
    make(project, "scores", score_benchmark)
    assert answers() == table


def ids_in(score):
    """Return the ids of the questions that scores hold, in order."""
    return pq.read_table(score / QUESTIONS_TABLE)["question_id"].to_pylist()


def make_other_weights(invocation):
    """Make the model of the project anew under its key, of other bytes."""
    ((_, (id,)),) = commands(invocation.file, "models")
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

    def stop_when_kept(scratch, block, ask):
        found = answer_once(scratch, block, ask)
        if block[0].subject == SUBJECTS[1]:
            raise KeyboardInterrupt
        return found

    answer_once = scoring.answer_once
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(scoring, "answer_once", stop_when_kept)
        make(project, "scores", score_benchmark)
    assert journalled() == 1
    make_other_weights(project)
    scores = make(project, "scores", score_benchmark)
    half = [score for score in scores if ids_in(score)[0].startswith(SUBJECTS[1])]
    resumed = {score.name: answers()[score.name] for score in half}
    assert journalled() == 0
    remove(scores)
    make(project, "scores", score_benchmark)
    assert resumed.items() <= answers().items()


def test_a_damaged_score_file_is_an_error_and_not_averaged(project):
    make(project, "models", fetch_model)
    make(project, "benchmarks", fetch_benchmark)
    (score, *_) = make(project, "scores", score_benchmark)
    table = pq.read_table(score / QUESTIONS_TABLE).to_pylist()
    for row in table[:7]:
        row["correct"] = not row["correct"]
    pq.write_table(pa.Table.from_pylist(table), score / QUESTIONS_TABLE)
    with pytest.raises(SystemExit, match=QUESTIONS_TABLE):
        make(project, "categories", aggregate_scores)
    assert not list(Path("results/categories").glob("*/*.json"))

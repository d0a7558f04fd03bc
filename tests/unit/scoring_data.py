"""Small benchmarks and the settings they are asked with, for tests of scoring."""

import json
import shutil

import pyarrow.parquet as pq

from scripts.lib.provenance import write_provenance
from scripts.lib.score_spec import ScoreSpec
from scripts.lib.scoring import score_benchmark

SUBJECTS = ("abstract_algebra", "botany")


def rows(subject, count, *, salt=""):
    return [
        {
            "question": f" {salt}{subject}: how much is {n} + {{{{ {n} }}}}? ",
            "subject": subject,
            "choices": [str(n), str(2 * n), f"{n}%", "none"],
            "answer": (n * 7 + len(subject)) % 4,
        }
        for n in range(count)
    ]


def write_rows(path, items):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def write_benchmark(folder):
    """Write two small subjects in MMLU's form."""
    for subject in SUBJECTS:
        write_rows(folder / "test" / f"{subject}.jsonl", rows(subject, 6))
        write_rows(folder / "dev" / f"{subject}.jsonl", rows(subject, 3, salt="Example of "))
    return folder


def spec(**changes):
    values = {
        "kind": "mmlu",
        "subjects": SUBJECTS,
        "shots": 2,
        "chat_template": False,
        "limit": None,
        "dtype": "float32",
        "max_new_tokens": None,
        "on_long_prompt": "error",
        "backend": "shared-prefix",
    }
    return ScoreSpec(**{**values, **changes})


def score(score_spec, model, benchmark, folder, *, batch_size=4, adapter=None):
    """Return facts and rows; the journal lives in *folder*."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    facts = score_benchmark(
        score_spec,
        model,
        benchmark,
        out,
        batch_size=batch_size,
        scratch=folder / "scratch",
        adapter=adapter,
    )
    write_provenance({"model": model.name}, {"lm-eval": "0.4"}, out)
    return facts, pq.read_table(out / "questions.parquet").to_pylist()

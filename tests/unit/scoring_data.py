"""Small benchmarks and the settings they are asked with, for tests of scoring."""

import dataclasses
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.score.scoring import Part, score_benchmark, write_provenance

SUBJECTS = ("abstract_algebra", "anatomy")


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
        "subject": None,
        "shots": 2,
        "chat_template": False,
        "limit": None,
        "dtype": "float32",
        "max_new_tokens": None,
        "on_long_prompt": "error",
        "backend": "shared-prefix",
    }
    return ScoreSpec(**{**values, **changes})


def score(asked, model, benchmark, folder, *, batch_size=4, adapter=None):
    """Return facts and rows of one job; the journal lives in *folder*.

    Without a subject both of `write_benchmark` are asked, and their files are laid together.
    """
    both = asked.kind == "mmlu" and asked.subject is None
    specs = [dataclasses.replace(asked, subject=s) for s in SUBJECTS] if both else [asked]
    shutil.rmtree(folder / "out", ignore_errors=True)
    outs = [folder / "out" / str(number) for number in range(len(specs))] if both else []
    outs = outs or [folder / "out"]
    for out in outs:
        out.mkdir(parents=True)
    parts = [Part(s, out, folder / "scratch") for s, out in zip(specs, outs, strict=True)]
    found = list(score_benchmark(parts, model, benchmark, batch_size=batch_size, adapter=adapter))
    tables = [pq.read_table(out / "questions.parquet") for out in outs]
    write_provenance({"model": model.name}, {"lm-eval": "0.4"}, folder / "out")
    if both:
        pq.write_table(pa.concat_tables(tables), folder / "out" / "questions.parquet")
        shutil.copy(outs[0] / "protocol.json", folder / "out")
    facts = {**found[0], **{key: sum(one[key] for one in found) for key in ("n", "correct")}}
    return facts, pa.concat_tables(tables).to_pylist()

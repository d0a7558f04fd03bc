"""Datasets of the hub, read by its real client from a stand-in on this machine."""

import io
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dataset_hub import dataset_hub
from tests.workspace import ROOT

OLD, NEW, NONE, BAD = "a" * 40, "b" * 40, "c" * 40, "d" * 40

CARD = b"""---
configs:
- config_name: all
  data_files:
  - {split: test, path: all/test-*}
  - {split: dev, path: all/dev-*}
---
"""

# Fetches each of its arguments into a folder of its own; prints the error where there is one.
PROGRAM = """
import json, sys
from pathlib import Path
from scripts.lib.errors import PipelineError
from scripts.lib.fetching import fetch_dataset
from scripts.lib.fetching_benchmarks import fetch_benchmark

for place, spec in json.loads(sys.argv[1]).items():
    out = Path(place)
    out.mkdir(parents=True)
    try:
        (fetch_benchmark if spec.get("kind") else fetch_dataset)(spec, [], out)
        print("fetched")
    except PipelineError as error:
        print(error)
"""


def parquet(text, subject):
    buffer = io.BytesIO()
    columns = {"question": [text], "subject": [subject], "choices": [list("wxyz")], "answer": [1]}
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def files(text, subject="anatomy"):
    names = ("all/test-0.parquet", "all/dev-0.parquet")
    return {"README.md": CARD} | {name: parquet(text, subject) for name in names}


@pytest.fixture(scope="module")
def fetch(tmp_path_factory):
    """Fetches in a process of its own, with the hub or without, and one cache for all."""
    home = tmp_path_factory.mktemp("home")

    def run(specs, *, offline):
        commits = {BAD: files("bad", "../anatomy"), OLD: files("old"), NEW: files("new")}
        with dataset_hub({"cais/mmlu": commits}) as hub:
            settings = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": offline}
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, json.dumps(specs)],
                cwd=ROOT,
                env={**os.environ, **settings},
                check=True,
                capture_output=True,
                text=True,
            )
        return done.stdout.splitlines()

    return run


def benchmark(revision):
    return {"source": "hub", "kind": "mmlu", "hub": "cais/mmlu", "revision": revision}


def dataset(revision):
    spec = {"source": "hub", "hub": "cais/mmlu", "revision": revision, "name": "all"}
    return spec | {"splits": {"train": "dev"}}


def test_rows_are_those_of_the_commit_and_never_those_of_another(fetch, tmp_path):
    there = str(tmp_path / "there")
    specs = {f"{there}/mmlu": benchmark(OLD), f"{there}/raw": dataset(OLD)}
    said = fetch(specs | {f"{there}/none": benchmark(NONE)}, offline="0")
    assert said[:2] == ["fetched"] * 2
    assert f"Revision '{NONE}' doesn't exist" in said[2]
    for split in ("test", "dev"):
        (row,) = (tmp_path / f"there/mmlu/{split}/anatomy.jsonl").read_text().splitlines()
        assert json.loads(row)["question"] == "old"
    assert pq.read_table(tmp_path / "there/raw/train.parquet")["question"].to_pylist() == ["old"]

    # Without the hub its client gives what it has, whatever commit that is from.
    alone = str(tmp_path / "offline")
    specs = {f"{alone}/old": benchmark(OLD), f"{alone}/raw": dataset(NEW)}
    said = fetch(specs | {f"{alone}/new": benchmark(NEW)}, offline="1")
    assert said[0] == "fetched"
    for refusal in said[1:]:
        assert f"could not be read at the commit {NEW}" in refusal
        assert OLD in refusal


def test_a_repository_that_cannot_be_had_is_named_with_what_to_do(fetch, tmp_path):
    spec = {**benchmark(OLD), "hub": "some/thing"}
    (said,) = fetch({str(tmp_path / "out"): spec}, offline="1")
    assert said.startswith(f"some/thing cannot be loaded at {OLD} (ConnectionError")
    assert "by `path`" in said


def test_a_subject_cannot_leave_its_folder(fetch, tmp_path):
    (said,) = fetch({str(tmp_path / "out"): benchmark(BAD)}, offline="0")
    assert "the subject '../anatomy' cannot name a file" in said
    assert not list(tmp_path.rglob("*.jsonl"))

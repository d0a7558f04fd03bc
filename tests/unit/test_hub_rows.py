"""Datasets of the hub, read by its real client from a stand-in on this machine."""

import functools
import json

import pyarrow.parquet as pq
import pytest

from tests.dataset_hub import dataset_files, fetch_from_hub

OLD, NEW, NONE, BAD = "a" * 40, "b" * 40, "c" * 40, "d" * 40


def files(text, subject="anatomy"):
    """Return one question in each split of a dataset like cais/mmlu."""
    row = {"question": text, "subject": subject, "choices": list("wxyz"), "answer": 1}
    return dataset_files("all", {"test": [row], "dev": [row]})


@pytest.fixture(scope="module")
def fetch(tmp_path_factory):
    """Fetches with the hub or without, and one cache for all."""
    commits = {BAD: files("bad", "../anatomy"), OLD: files("old"), NEW: files("new")}
    home = tmp_path_factory.mktemp("home")
    return functools.partial(fetch_from_hub, {"cais/mmlu": commits}, home)


def benchmark(revision):
    return {"source": "hub", "kind": "mmlu", "hub": "cais/mmlu", "revision": revision}


def dataset(revision):
    spec = {"source": "hub", "hub": "cais/mmlu", "revision": revision, "name": "all"}
    return spec | {"splits": {"train": "dev"}}


def test_rows_are_those_of_the_commit_and_never_those_of_another(fetch, tmp_path):
    there = str(tmp_path / "there")
    specs = {f"{there}/mmlu": benchmark(OLD), f"{there}/raw": dataset(OLD)}
    said = fetch(specs | {f"{there}/none": benchmark(NONE)})
    assert said[:2] == ["fetched"] * 2
    assert f"Revision '{NONE}' doesn't exist" in said[2]
    for split in ("test", "dev"):
        (row,) = (tmp_path / f"there/mmlu/{split}/anatomy.jsonl").read_text().splitlines()
        assert json.loads(row)["question"] == "old"
    assert pq.read_table(tmp_path / "there/raw/train.parquet")["question"].to_pylist() == ["old"]

    # Without the hub its client gives what it has, whatever commit that is from.
    alone = str(tmp_path / "offline")
    specs = {f"{alone}/old": benchmark(OLD), f"{alone}/raw": dataset(NEW)}
    said = fetch(specs | {f"{alone}/new": benchmark(NEW)}, offline=True)
    assert said[0] == "fetched"
    for refusal in said[1:]:
        assert f"could not be read at the commit {NEW}" in refusal
        assert OLD in refusal


def test_a_repository_that_cannot_be_had_is_named_with_what_to_do(fetch, tmp_path):
    spec = {**benchmark(OLD), "hub": "some/thing"}
    (said,) = fetch({str(tmp_path / "out"): spec}, offline=True)
    assert said.startswith(f"some/thing cannot be loaded at {OLD} (ConnectionError")
    assert "by `path`" in said


def test_a_subject_cannot_leave_its_folder(fetch, tmp_path):
    (said,) = fetch({str(tmp_path / "out"): benchmark(BAD)})
    assert "the subject '../anatomy' cannot name a file" in said
    assert not list(tmp_path.rglob("*.jsonl"))

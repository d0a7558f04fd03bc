"""Datasets of the hub, read by its real client from a stand-in on this machine."""

import functools
import json

import pyarrow.parquet as pq
import pytest

from tests.dataset_hub import dataset_files, fetch_from_hub

OLD, NEW, NONE, BAD, ODD = "a" * 40, "b" * 40, "c" * 40, "d" * 40, "e" * 40


def files(text, subject="anatomy"):
    """Return one question in each split of a dataset like cais/mmlu."""
    row = {"question": text, "subject": subject, "choices": list("wxyz"), "answer": 1}
    return dataset_files("all", {"test": [row], "dev": [row]})


def odd_files(count):
    """Return a dataset with so many rows in each split, every third one without a right answer."""
    asked = [
        {"question": f"q{n}", "subject": ("anatomy", "law")[n % 2], "choices": list("wwyz")}
        | {"answer": 1 if n % 3 else 7}
        for n in range(count)
    ]
    return dataset_files("all", {"test": asked, "dev": asked[:6]})


@pytest.fixture(scope="module")
def fetch(tmp_path_factory):
    """Fetches with the hub or without, and one cache for all."""
    commits = {BAD: files("bad", "../anatomy"), OLD: files("old"), NEW: files("new")}
    commits = {ODD: odd_files(66), **commits}
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


def test_all_bad_rows_of_the_hub_are_told_at_once_or_left_out(fetch, tmp_path):
    specs = {
        str(tmp_path / "error"): benchmark(ODD),
        str(tmp_path / "kept"): benchmark(ODD) | {"on_bad_row": "leave_out"},
    }
    refused, done = fetch(specs)
    assert done == "fetched"
    # By hand: 22 of 66 and 2 of 6; of each subject every third row, counted from 1.
    assert refused.startswith("24 of 72 rows are no questions:")
    assert "cais/mmlu/dev/anatomy: row 1 needs a whole number from 0 to 3" in refused
    assert "cais/mmlu/test/law: row 2 " in refused
    assert "and 4 more" in refused and "`on_bad_row: leave_out`" in refused
    test = (tmp_path / "kept/test/law.jsonl").read_text().splitlines()
    assert [json.loads(line)["question"] for line in test][:3] == ["q1", "q5", "q7"]
    assert len(test) == 22
    ledger = (tmp_path / "kept/left_out.jsonl").read_text().splitlines()
    assert len(ledger) == 24
    assert json.loads(ledger[0])["file"] == "dev/anatomy.jsonl"

"""Benchmarks on what a dataset holds out: which splits there are to ask."""

import pytest

from scripts.lib.config.load import load_config
from tests.unit.config.test_config import HASH, changed, errors_of, the_error_of

HELD_OUT = {"kind": "held_out", "dataset": "orders"}

JUDGED = {"kind": "judged_pairs", "judge": {"model": "folder"}}


def test_held_out_conversations_of_a_dataset_are_a_benchmark():
    mapping = changed("benchmarks/domain", HELD_OUT)
    mapping["datasets"]["orders"]["test_fraction"] = 0.1
    domain = load_config(mapping).benchmarks["domain"]
    assert (domain.split, domain.max_new_tokens, domain.limit) == ("test", 256, None)


@pytest.mark.parametrize("kind", [HELD_OUT, JUDGED], ids=lambda kind: kind["kind"])
def test_a_held_out_dataset_must_be_declared(kind):
    error = the_error_of("benchmarks/domain", {**kind, "dataset": "order", "split": "valid"})
    assert error.startswith("benchmarks.domain.dataset: ")
    assert "orders" in error


@pytest.mark.parametrize(
    ("split", "dataset", "there"),
    [
        ("test", {"path": "o.jsonl"}, False),
        ("test", {"path": "o.jsonl", "test_fraction": 0.1}, True),
        ("test", {"files": {"train": "a", "test": "b"}}, True),
        ("test", {"hub": "o/o", "revision": HASH, "splits": {"valid": "v"}}, False),
        ("test", {"hub": "o/o", "revision": HASH, "splits": {"test": "t"}}, True),
        ("valid", {"path": "o.jsonl"}, True),
        ("valid", {"path": "o.jsonl", "valid_fraction": 0.0}, False),
        ("valid", {"files": {"train": "a", "valid": "b"}}, True),
    ],
)
@pytest.mark.parametrize("kind", [HELD_OUT, JUDGED], ids=lambda kind: kind["kind"])
def test_a_split_that_the_dataset_does_not_hold_out_is_refused(split, dataset, there, kind):
    mapping = changed("benchmarks/domain", {**kind, "dataset": "orders", "split": split})
    mapping["datasets"]["orders"] = dataset
    if there:
        assert load_config(mapping).benchmarks["domain"].split == split
        return
    (line,) = errors_of(mapping)
    assert line.startswith("benchmarks.domain.split: ")
    assert f"a {split}_fraction above 0" in line


def test_the_training_rows_are_no_held_out_split():
    line = the_error_of("benchmarks/domain", {**HELD_OUT, "split": "train"})
    assert "benchmarks.domain.split" in line and "test" in line


@pytest.mark.parametrize(
    ("keys", "blamed", "words"),
    [
        ({}, "path", "a dataset as dataset"),
        ({"path": "p.jsonl", "dataset": "orders", "split": "valid"}, "path", "leave one"),
        ({"path": "p.jsonl", "split": "valid"}, "split", "leave it out"),
        ({"dataset": "orders", "split": "train"}, "split", "test, valid"),
    ],
    ids=["none", "both", "split of a file", "training rows"],
)
def test_judged_prompts_come_from_a_file_or_from_what_a_dataset_holds_out(keys, blamed, words):
    line = the_error_of("benchmarks/replies", {**JUDGED, **keys})
    assert line.startswith(f"benchmarks.replies.{blamed}: ") and words in line

"""Datasets of the hub, read by its real client from a stand-in on this machine."""

import functools
import json

import pyarrow.parquet as pq
import pytest

from tests.dataset_hub import dataset_files, fetch_from_hub, files_of_configs

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
    assert f"has no commit {NONE}: copy one from" in said[2]
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
    assert said.startswith(f"some/thing cannot be loaded at {OLD}: the hub may not be asked")
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


NAMES = [f"configuration_{number:03d}" for number in range(120)]
ROW = {"prompt": "Hi", "completion": "Ho"}
MANY = {OLD: files_of_configs({name: {"train": [ROW], "validation": [ROW]} for name in NAMES})}
SCRIPT = {OLD: {"README.md": b"", "script.py": b"print(1)"}}
BROKEN = {OLD: {"README.md": b"", "train.parquet": b"PAR1 and no table"}}
HUB = {
    "some/many": MANY,
    "some/closed": {OLD: files("closed")},
    "some/script": SCRIPT,
    "some/broken": BROKEN,
}

# What each refusal advises; a refusal has its own advice and none of the others'.
ADVICE = {
    "network": "name them by `path`",
    "offline": "HF_HUB_OFFLINE is set",
    "name": "write `name:`",
    "splits": "in `splits`",
    "commit": "copy one from",
    "access": "is gated: ask for access",
    "account": "the account that is logged in has no access",
    "token": "the token is not valid",
    "repository": "correct the name, or log in",
    "script": "plain files",
}


def raw(hub, revision=OLD, name=None, split="train"):
    spec = {"source": "hub", "hub": hub, "revision": revision, "name": name}
    return spec | {"splits": {"train": split}}


def model(hub, revision=OLD):
    return {"source": "hub", "hub": hub, "revision": revision, "trust_remote_code": False}


def advised(text):
    return {kind for kind, words in ADVICE.items() if words in text}


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Fetches from a hub with many kinds of trouble; returns what each spec was told."""

    def ask(*specs, **settings):
        folder = tmp_path_factory.mktemp("asked")
        there = {str(folder / f"out{number}"): spec for number, spec in enumerate(specs)}
        return fetch_from_hub(HUB, folder / "home", there, gated=("some/closed",), **settings)

    return ask


TOLD = {
    "missing name": (raw("some/many"), {"name"}),
    "wrong name": (raw("some/many", name="configuration_0001"), set()),
    "name that a kind needs": (benchmark(OLD) | {"hub": "some/many"}, set()),
    "wrong split": (raw("some/many", name=NAMES[0], split="valid"), {"splits"}),
    "wrong part": (raw("some/many", name=NAMES[0], split="train[:50%]+vaild"), {"splits"}),
    "commit": (raw("some/many", revision=NONE, name=NAMES[0]), {"commit"}),
    "repository": (raw("some/none"), {"repository"}),
    "gate": (raw("some/closed", name="all", split="dev"), {"access"}),
    "script": (raw("some/script"), {"script"}),
    "broken file": (raw("some/broken"), {"network"}),
    "model": (model("some/none"), {"repository"}),
    "commit of a model": (model("some/closed", revision=NONE), {"commit"}),
    "gate of a model": (model("some/closed"), {"access"}),
}
SEVERAL_PARTS = raw("some/many", name=NAMES[0], split="train[:100%]+validation")


@pytest.fixture(scope="module")
def told(ask):
    """Return what each kind of trouble was told."""
    said = ask(*(spec for spec, _ in TOLD.values()), SEVERAL_PARTS)
    return dict(zip([*TOLD, "nothing"], said, strict=True))


def test_each_refusal_has_the_advice_that_fits_and_no_other(told):
    assert {kind: advised(told[kind]) for kind in TOLD} == {
        kind: advice for kind, (_, advice) in TOLD.items()
    }
    assert [kind for kind, (spec, _) in TOLD.items() if spec["hub"] not in told[kind]] == []
    assert "its files cannot be read" in told["broken file"]
    assert told["nothing"] == "fetched"


def test_the_configurations_are_told_to_the_last_one(told):
    for kind in ("missing name", "wrong name", "name that a kind needs"):
        assert [name for name in NAMES if name not in told[kind]] == []
        assert max(map(len, told[kind].splitlines()[1:])) <= 104
    assert "it has 120 configurations; write `name:` with one of them" in told["missing name"]
    assert "no configuration 'configuration_0001' (did you mean" in told["wrong name"]
    assert "it has no configuration 'all'" in told["name that a kind needs"]


def test_the_splits_are_told(told):
    assert f"has no split 'valid' of the configuration '{NAMES[0]}'" in told["wrong split"]
    assert "it has train, validation" in told["wrong split"]
    assert "it has no split 'vaild'" in told["wrong part"]


def test_a_token_is_blamed_for_what_is_the_token_s(ask):
    closed = (raw("some/closed"), model("some/closed"))
    env = {"HF_TOKEN": "hf_mine"}
    *gated, none = ask(*closed, raw("some/none"), env=env, token="hf_mine")
    assert [advised(text) for text in gated] == [{"account"}] * 2
    assert advised(none) == {"repository"}
    assert "nobody is logged in" not in none
    assert [advised(text) for text in ask(*closed, env=env, token="hf_other")] == [{"token"}] * 2


def test_without_a_network_it_is_the_network(ask):
    closed = (raw("some/closed"), model("some/closed"))
    for text in ask(*closed, env={"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert advised(text) == {"network"}
        assert "cannot be reached at http://127.0.0.1:9" in text
    assert [advised(text) for text in ask(*closed, offline=True)] == [{"network", "offline"}] * 2


def test_the_switch_of_one_library_is_named(ask):
    (said,) = ask(raw("some/many"), env={"HF_DATASETS_OFFLINE": "1"})
    assert "HF_DATASETS_OFFLINE is set" in said

"""A first config is one that planning takes, whatever it starts from."""

import json
from pathlib import Path

import pytest
import yaml

from scripts.lib.config.load import load_config
from scripts.lib.errors import ConfigError
from scripts.lib.plan.pinning import pinned
from scripts.lib.plan.starting import DEMO, MMLU, PACKAGED, Start, first_config

ROWS = "it's rows: 1.jsonl"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path(ROWS).write_text('{"prompt": "a", "completion": "b"}\n')
    Path("questions.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    Path("choices.jsonl").write_text(json.dumps({"question": "a", "choices": ["b", "c"]}) + "\n")
    Path("model").mkdir()
    Path("subjects/test").mkdir(parents=True)
    return tmp_path


def read(start: Start) -> dict:
    """Return a first config as YAML reads it, pinned, and checked by the schema."""
    text, _ = pinned(first_config(start, Path("mine.yaml")), lambda *_: "a" * 40)
    config = yaml.safe_load(text)
    load_config(config)
    return config


@pytest.mark.parametrize("model", [PACKAGED, "model", "acme/base"])
@pytest.mark.parametrize("data", [ROWS, "acme/rows"])
@pytest.mark.parametrize(
    "benchmarks",
    [(DEMO,), (MMLU,), ("subjects",), ("questions.jsonl", "choices.jsonl"), ("gsm8k", MMLU, DEMO)],
)
def test_the_schema_takes_it(model: str, data: str, benchmarks: tuple[str, ...]) -> None:
    config = read(Start(model, data, benchmarks))
    assert len(config["benchmarks"]) == len(benchmarks) + 1  # and the rows' own domain
    (dataset,) = config["datasets"].values()
    assert dataset.get("path", dataset.get("hub")) == data


def test_questions_are_told_by_their_columns() -> None:
    config = read(Start("model", ROWS, ("questions.jsonl", "choices.jsonl")))
    kinds = {name: one["kind"] for name, one in config["benchmarks"].items()}
    assert kinds["questions"] == "exact_match" and kinds["choices"] == "multiple_choice"


def test_only_the_model_that_comes_along_is_trained_on_a_few_rows() -> None:
    assert "limit" in read(Start(PACKAGED, ROWS, (DEMO,)))["datasets"]["rows"]
    assert "limit" not in read(Start("model", ROWS, (DEMO,)))["datasets"]["rows"]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (Start("nowhere", ROWS, (DEMO,)), "model: nowhere is not here"),
        (Start("model", "no.jsonl", (DEMO,)), "data: no.jsonl is not here"),
        (Start("model", "data/no.jsonl", (DEMO,)), "data: data/no.jsonl is not here"),
        (Start("model", ROWS, ("no.csv",)), "benchmark: no.csv is not here"),
    ],
)
def test_what_is_not_there_is_refused_with_what_may_stand_there(start: Start, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        first_config(start, Path("mine.yaml"))
    assert "allowed:" in str(refused.value) or "OWNER/NAME" in str(refused.value)

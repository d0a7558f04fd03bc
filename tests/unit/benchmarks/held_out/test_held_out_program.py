"""Held-out conversations through the programs themselves, as the rules call them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts import (
    aggregate_scores,
    compare_runs,
    fetch_dataset,
    fetch_model,
    format_chat,
    score_benchmark,
    write_report,
)
from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.errors import ConfigError, ScoreError
from scripts.lib.plan.invocation import plan_invocation
from scripts.lib.questions.held_out_conversations import held_out_conversations
from tests import programs
from tests.comparison_file import read_comparison
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import write_rows
from tests.workspace import ROOT


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Two models, and a dataset that no run uses, in a folder to stand in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    for seed, name in enumerate(("small", "other")):
        make_tiny_model(tmp_path / name, seed=seed)
    rows = [{"prompt": f"order {n}", "completion": f"{n} tea | here"} for n in range(40)]
    write_rows(tmp_path / "orders.jsonl", rows)
    domain = {"kind": "held_out", "dataset": "orders", "max_new_tokens": 4}
    return {
        "models": {name: {"path": name} for name in ("small", "other")},
        "datasets": {"orders": {"path": "orders.jsonl", "test_fraction": 0.3}},
        "benchmarks": {"domain": domain},
    }


def make(invocation, stage, program):
    """Make the missing artifacts of a stage as its rule does, and return all its folders."""
    return programs.make(invocation.file, stage, program)


def make_all(invocation):
    make(invocation, "models", fetch_model)
    make(invocation, "raw", fetch_dataset)
    (chat,) = make(invocation, "chat", format_chat)
    scores = make(invocation, "scores", score_benchmark)
    categories = make(invocation, "categories", aggregate_scores)
    (comparison,) = make(invocation, "comparisons", compare_runs)
    (report,) = make(invocation, "reports", write_report)
    return chat, scores, categories, comparison, report


def test_a_held_out_split_goes_from_raw_rows_to_the_report(config):
    invocation = plan_invocation(config, ROOT)
    chat, scores, categories, comparison, report = make_all(invocation)
    asked = pq.read_table(chat / "test.parquet").num_rows
    assert 0 < asked < 40
    for score, category in zip(sorted(scores), sorted(categories), strict=True):
        assert pq.read_table(score / "questions.parquet").num_rows == asked
        found = json.loads((category / "domain.held_out.json").read_text())
        assert (found["n"], found["forms"]) == (asked, ["one line", "the sign |"])
        assert found["made_of"].keys() == {"model", "benchmark"}
    document = read_comparison(comparison)
    assert document["benchmarks"] == {}
    assert document["held_out"]["domain"]["candidates"].keys() == {"small", "other"}
    assert "Held-out results of domain" in (report / "index.html").read_text()


def test_asking_another_way_formats_nothing_again(config):
    first = plan_invocation(config, ROOT)
    make_all(first)
    config["benchmarks"]["domain"]["max_new_tokens"] = 5
    again = plan_invocation(config, ROOT)
    stages = {id.partition("/")[0] for id in again.plan.missing}
    assert stages == {"scores", "categories", "comparisons", "reports"}


def test_an_empty_split_is_named_with_its_remedy_before_any_job(config):
    config["datasets"]["orders"]["test_fraction"] = 0.0
    with pytest.raises(ConfigError, match="test_fraction"):
        plan_invocation(config, ROOT)


@pytest.mark.parametrize("roles", [(), ("user",), ("assistant", "user")], ids=str)
def test_a_split_without_an_answer_to_ask_for_is_named_with_its_remedy_by_the_job(tmp_path, roles):
    """Of a dataset of the hub, no row is known at planning."""
    if roles:
        turns = tuple(Message(role=role, content="tea") for role in roles)
        row = Conversation(messages=turns).row()
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "test.parquet")
    with pytest.raises(ScoreError, match=r"holds no test conversations .* a larger test_fraction"):
        held_out_conversations(tmp_path, "test")


def test_a_score_made_anew_with_other_bytes_than_were_counted_is_refused(config):
    """The comparison reads what was counted and no score."""
    invocation = plan_invocation(config, ROOT)
    make(invocation, "models", fetch_model)
    make(invocation, "raw", fetch_dataset)
    make(invocation, "chat", format_chat)
    (score, _) = make(invocation, "scores", score_benchmark)
    make(invocation, "categories", aggregate_scores)
    manifest = score.with_name(f"{score.name}.json")
    said = json.loads(manifest.read_text()) | {"content": "0" * 64, "files": []}
    manifest.write_text(json.dumps(said))
    with pytest.raises(SystemExit, match=r"categories/\S+ was made from another scores/"):
        make(invocation, "comparisons", compare_runs)

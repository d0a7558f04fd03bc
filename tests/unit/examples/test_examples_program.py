"""The stage `examples` through the programs: made of what is there, awaited by nobody."""

import json

import pytest

from scripts import fetch_dataset, fetch_model, format_chat, render_shards, show_examples
from scripts.lib.plan.invocation import plan_invocation
from scripts.lib.plan.missing import read_frozen
from tests import programs
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import write_rows
from tests.workspace import ROOT

MAKERS = {
    "models": fetch_model,
    "raw": fetch_dataset,
    "chat": format_chat,
    "shards": render_shards,
    "examples": show_examples,
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Two runs that differ in training alone, in a folder to stand in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    make_tiny_model(tmp_path / "tiny")
    rows = [{"prompt": f"order {n}", "completion": f"{n} tea"} for n in range(20)]
    write_rows(tmp_path / "orders.jsonl", [*rows, rows[0]])
    run = {"model": "tiny", "dataset": "orders"}
    return {
        "models": {"tiny": {"path": "tiny"}},
        "datasets": {"orders": {"path": "orders.jsonl", "valid_fraction": 0.3}},
        "runs": {"one": run, "other": {**run, "lora": {"r": 2}}},
        "benchmarks": {"domain": {"kind": "held_out", "dataset": "orders", "split": "valid"}},
    }


def test_one_page_serves_all_runs_on_the_same_shards_and_is_made_of_the_folders_of_three_stages(
    config,
):
    plan = plan_invocation(config, ROOT)
    made = {stage: programs.make(plan.file, stage, program) for stage, program in MAKERS.items()}
    (folder,) = made["examples"]
    examples = json.loads((folder / "examples.json").read_text())
    (shown,) = examples["conversations"]
    assert json.loads(shown["raw"])["prompt"].startswith("order ")
    assert [reason["reason"] for reason in examples["reasons"]] == ["duplicate"]
    page = (folder / "index.html").read_text()
    assert shown["id"] in page and "<mark>" in page and str(folder.parent) not in page
    assert plan_invocation(config, ROOT).plan.missing == tuple(
        id for id in plan.plan.missing if id.partition("/")[0] not in MAKERS
    )


def test_only_the_report_waits_for_examples(config):
    frozen = read_frozen(plan_invocation(config, ROOT).file)["artifacts"]
    (own,) = (id for id in frozen if id.startswith("examples/"))
    waiting = {
        id.partition("/")[0]
        for id, entry in frozen.items()
        if own in entry["awaits"] or own in str(entry["reads"])
    }
    assert waiting == {"reports"}

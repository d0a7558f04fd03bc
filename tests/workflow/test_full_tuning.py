"""A run that trains all weights, from raw rows to the report, and what is pushed of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.artifacts import links, upkeep
from scripts.lib.artifacts.store import Store
from scripts.lib.plan import invocation
from tests.conftest import MakeOnce
from tests.hub_server import hub
from tests.programs import make_all
from tests.workspace import ROOT, copy_workspace, make_workspace, read_config, write_config

TOKEN = "hf_a-token-that-nobody-else-may-see"


@pytest.fixture(scope="session")
def made(make_once: MakeOnce) -> Path:
    """Return a workspace with a full fine-tune, made to its report, and its cache."""

    def make(folder: Path) -> None:
        (folder / "cache").mkdir()
        workspace = make_workspace(folder / "ws")
        config = read_config(workspace)
        whole = {**config["runs"]["low"], "lora": None, "publish": {"repo_id": "me/whole"}}
        whole["training"] = {
            **whole["training"],
            "epochs": 4,
            "learning_rate": 3e-3,
            "dtype": "bfloat16",
        }
        config["runs"] = {"whole": whole}
        write_config(workspace, config)
        (workspace / "model" / "README.md").write_text("---\nlicense: mit\n---\nA base.\n")
        make_all(workspace, cache=folder / "cache")

    return make_once("full-tuning", make)


@pytest.fixture
def workspace(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a copy of the workspace that was made."""
    folder = copy_workspace(made / "ws", tmp_path / "ws")
    monkeypatch.chdir(folder)
    monkeypatch.delenv(invocation.CACHE_VARIABLE, raising=False)
    return folder


def plan(*, wanted: bool = False) -> invocation.Invocation:
    config = invocation.read_configs({}, [], ROOT)
    return invocation.plan_invocation(config, ROOT, publish=wanted)


def folder_of(stage: str) -> Path:
    (manifest,) = Path("results", stage).glob("*.json")
    return manifest.with_suffix("")


def facts_of(stage: str) -> dict:
    return json.loads(folder_of(stage).with_suffix(".json").read_text())["facts"]


@pytest.mark.e2e
def test_the_trained_model_is_scored_as_it_is_and_nothing_is_merged(workspace: Path):
    assert plan().plan.missing == ()
    for stage in ("adapters", "merged", "proofs"):
        assert not Path("results", stage).exists()
    valid = [e["valid_loss"] for e in facts_of("trained")["history"] if "valid_loss" in e]
    assert valid[-1] < valid[0] - 0.3
    page = (folder_of("reports") / "index.html").read_text()
    assert "Full fine-tune" in page
    assert f"{facts_of('trained')['parameters']:,} trained" in page


@pytest.mark.e2e
def test_its_answers_are_those_that_transformers_gives_of_its_folder(workspace: Path):
    planned = plan().plan
    (whole,) = (c for c in planned.graph.candidates if c.name == "whole")
    (scores,) = whole.scores["say"]
    rows = pq.read_table(Path("results") / scores / "questions.parquet").to_pylist()
    folder = folder_of("trained")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = [json.loads(line) for line in Path("data/held_out.jsonl").read_text().splitlines()]
    assert len(rows) == len(asked)
    for row, question in zip(rows, asked, strict=True):
        turn = [{"role": "user", "content": question["prompt"]}]
        prompt = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        said = model.generate(**prompt, max_new_tokens=8, do_sample=False)
        text = tokenizer.decode(said[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        assert row["response"] == text


@pytest.mark.e2e
def test_a_cache_gets_what_is_to_be_known_of_it_and_not_its_weights(made: Path, workspace: Path):
    name = folder_of("trained").name
    entry = made / "cache" / "trained" / name
    assert [path.name for path in entry.iterdir()] == [f"{name}.json"]


@pytest.mark.e2e
def test_no_one_removes_its_weights_and_links_lead_to_them(workspace: Path):
    found = plan()
    store = Store(Path("results"), ())
    assert upkeep.evict_merged(found.plan.graph, store) == []
    links.refresh(found.plan.graph, store)
    assert Path("results/runs/whole/model").resolve() == folder_of("trained").resolve()


@pytest.mark.e2e
def test_it_is_pushed_with_its_scores_and_the_licence_of_its_base(
    workspace: Path,
):
    frozen = plan(wanted=True).file
    with hub(TOKEN) as server:
        given = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}
        own = {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(workspace), "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-m", "scripts.publish", "--plan", str(frozen)],
            env={**os.environ, **given, **own},
            check=True,
        )
        ((repo, branch, files),) = server.commits
    assert (repo, branch) == ("me/whole", "main")
    weights = {"config.json", "generation_config.json", "model.safetensors"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert files.keys() == {"README.md"} | weights | tokenizer
    card = files["README.md"].decode()
    assert 'license: "mit"' in card and "## Scores" in card
    assert "A full fine-tune of a local model" in card and "all of its weights were trained" in card
    assert "LoRA" not in card and "lora" not in card and "training.learning_rate" in card

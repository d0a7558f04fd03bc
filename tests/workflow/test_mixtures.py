"""A run on three datasets of three formats, one of them replay, from raw rows to the report."""

import json
import re
import shutil
from contextlib import chdir
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scripts.lib.jobs.forecast import Forecast, forecast, trainings
from scripts.lib.jobs.remarks import to_train
from scripts.lib.plan.invocation import graph_of, open_store, read_configs
from scripts.lib.plan.missing import make_plan
from tests.programs import make_all
from tests.workspace import (
    ROOT,
    copy_workspace,
    make_workspace,
    read_config,
    write_config,
    write_rows,
)

GENERAL = [
    {"instruction": f"Fruit {n}?", "input": "", "output": " ".join(["apple"] * (1 + n % 5))}
    for n in range(60)
]
CALLS = [
    {
        "conversations": [
            {"from": "human", "value": f"What is {n} plus one?"},
            {"from": "gpt", "value": f"It is {n + 1}."},
        ]
    }
    for n in range(40)
]
SHARES = {"say": 0.5, "general": 0.375, "calls": 0.125}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace where a run on three datasets was taken to the report."""
    folder = make_workspace(tmp_path_factory.mktemp("mixture") / "ws")
    write_rows(folder / "data/general.jsonl", GENERAL)
    write_rows(folder / "data/calls.jsonl", CALLS)
    config = read_config(folder)
    config["datasets"] |= {
        name: {"path": f"data/{name}.jsonl", "valid_fraction": 0.2} for name in ("general", "calls")
    }
    low = config["runs"]["low"]
    low["dataset"] = {"say": 4, "general": 3, "calls": {"weight": 1, "max_rows": 20}}
    low["evaluate_on"] = ["general"]
    config["runs"] = {"low": low}
    config["benchmarks"] = {"say": config["benchmarks"]["say"]}
    write_config(folder, config)
    make_all(folder)
    return folder


def artifacts(folder: Path, stage: str) -> dict[str, dict]:
    """Return the manifests of a stage by id."""
    found = [json.loads(file.read_text()) for file in (folder / "results" / stage).glob("*.json")]
    return {one["id"]: one for one in found}


def ids_in(folder: Path) -> dict[str, dict[str, str]]:
    """Return dataset -> text of its first turn -> split."""
    found: dict[str, dict[str, str]] = {}
    for id in artifacts(folder, "chat"):
        rows = found.setdefault(re.split(r"[/-]", id)[1], {})
        for file in (folder / "results" / id).glob("*.parquet"):
            if file.stem in ("train", "valid", "test"):
                turns = pq.read_table(file, columns=["messages"])["messages"].to_pylist()
                rows |= {json.dumps(turn): file.stem for turn in turns}
    return found


def forecast_of(folder: Path) -> Forecast:
    """Return what is told of the one training that is to be done; the note on it is close to it."""
    with chdir(folder):
        store = open_store()
        plan = make_plan(graph_of(read_configs({}, [], ROOT), ROOT), store)
        ((id, names),) = trainings(plan).items()
        told = forecast(plan, store, id, names, {"gpu": 1})
        (note,) = to_train(plan)
    tokens = int(re.search(r"([\d,]+) tokens", note)[1].replace(",", ""))
    assert tokens == pytest.approx(told.amount.tokens, rel=0.2)
    return told


@pytest.mark.e2e
def test_each_dataset_gives_its_share_and_the_report_shows_it(made: Path):
    (adapter,) = artifacts(made, "adapters").values()
    given = adapter["facts"]["mixture"]
    slugs = [re.split(r"[/-]", one["id"])[1] for one in adapter["inputs"]["shards"]]
    assert sorted(slugs) == sorted(SHARES)
    total = adapter["facts"]["trained_tokens"]
    for slug, gave in zip(slugs, given, strict=True):
        assert gave["share_asked"] == SHARES[slug]
        # Rows here have up to 32 trained tokens; what one gives too much moves the share of all.
        assert abs(gave["trained_tokens"] - SHARES[slug] * total) < 64
        assert gave["held_out"] >= 1
    assert sum(gave["rows"] for gave in given) == adapter["facts"]["train_rows"]
    (page,) = (made / "results/reports").glob("*/index.html")
    html = page.read_text(encoding="utf-8")
    table = html[html.index("What each dataset gave</caption>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], re.DOTALL)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows[1:]]
    shown = {row[0]: row[1:] for row in cells}
    assert shown.keys() == SHARES.keys()
    for slug, gave in zip(slugs, given, strict=True):
        assert shown[slug][0] == f"{gave['share']:.2%}"
        assert shown[slug][2] == f"{gave['trained_tokens']:,}"
    assert "Loss on general" in html


@pytest.mark.e2e
def test_each_dataset_has_its_ledger_contract_and_examples_in_the_report(made: Path):
    (page,) = (made / "results/reports").glob("*/index.html")
    html = page.read_text(encoding="utf-8")
    for name in SHARES:
        assert f'results/runs/low/examples/{name}/index.html"' in html.replace("../", "results/")
    assert html.count("What became of each raw row") == 3
    assert html.count("What became of each conversation in the chat template") == 3


@pytest.mark.e2e
def test_another_weight_trains_again_and_renders_nothing(made: Path, tmp_path: Path):
    folder = copy_workspace(made, tmp_path / "ws")
    before = {stage: artifacts(folder, stage) for stage in ("chat", "shards", "adapters")}
    config = read_config(folder)
    config["runs"]["low"]["dataset"]["general"] = 1
    write_config(folder, config)
    # A job that formats or shows examples would find no input.
    for raw in [place for place in (folder / "results/raw").iterdir() if place.is_dir()]:
        shutil.rmtree(raw)
    told = forecast_of(folder)
    make_all(folder, ["raw", "chat", "shards", "examples", "adapters"])
    after = {stage: artifacts(folder, stage) for stage in before}
    assert after["chat"] == before["chat"]
    assert after["shards"] == before["shards"]
    assert not any(place.is_dir() for place in (folder / "results/raw").iterdir())
    assert len(after["adapters"]) == len(before["adapters"]) + 1
    (new,) = after["adapters"].keys() - before["adapters"].keys()
    facts = after["adapters"][new]["facts"]
    assert after["adapters"][new]["content"] not in {
        one["content"] for one in before["adapters"].values()
    }
    assert (told.amount.tokens, told.amount.trained_tokens, told.amount.rows) == (
        facts["train_tokens"],
        facts["trained_tokens"],
        facts["train_rows"],
    )
    assert (told.steps, told.amount.sequences) == (facts["steps"], facts["train_sequences"])


@pytest.mark.e2e
def test_a_row_that_is_added_to_one_dataset_moves_no_other_between_splits(
    made: Path, tmp_path: Path
):
    before = ids_in(made)
    folder = copy_workspace(made, tmp_path / "ws")
    new = {"instruction": "Name a tree.", "input": "", "output": "oak"}
    write_rows(folder / "data/general.jsonl", [*GENERAL[:7], new, *GENERAL[7:]])
    shutil.rmtree(folder / "results")
    make_all(folder, ["raw", "chat"])
    after = ids_in(folder)
    assert after["say"] == before["say"]
    assert after["calls"] == before["calls"]
    assert len(after["general"]) == len(before["general"]) + 1
    assert after["general"].items() >= before["general"].items()

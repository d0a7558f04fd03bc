"""One run with three seeds, from raw rows to the report, on a tiny model."""

import json
import re
from pathlib import Path

import pytest

from tests.comparison_file import read_comparison
from tests.programs import make_all
from tests.workspace import make_workspace, read_config, write_config, write_rows

MEMBERS = ["low-seed1", "low-seed2", "low-seed3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace where a run with seeds and one without were taken to the report."""
    folder = make_workspace(tmp_path_factory.mktemp("replicates") / "ws")
    write_rows(folder / "data" / "prompts.jsonl", [{"prompt": f"Say red {n}."} for n in range(3)])
    config = read_config(folder)
    config["runs"]["low"] |= {"seeds": [1, 2, 3]}
    # As bold as the other, so that the answers differ.
    config["runs"]["low"]["training"]["learning_rate"] = 1.0e-2
    config["benchmarks"] |= {
        "domain": {"kind": "held_out", "dataset": "say", "split": "valid", "max_new_tokens": 4},
        "duel": {
            "kind": "judged_pairs",
            "path": "data/prompts.jsonl",
            "judge": {"model": "tiny"},
            "max_new_tokens": 4,
        },
    }
    write_config(folder, config)
    make_all(folder)
    return folder


def made_of(folder: Path, stage: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in (folder / "results" / stage).glob("*.json")]


@pytest.mark.e2e
def test_seeds_share_everything_but_their_adapters(made: Path):
    assert len(made_of(made, "shards")) == len(made_of(made, "chat")) == 1
    adapters = [one for one in made_of(made, "adapters") if one["spec"]["lora"]["r"] == 2]
    assert sorted(one["spec"]["training"]["seed"] for one in adapters) == [1, 2, 3]
    assert len({one["content"] for one in adapters}) == 3, "another seed, another adapter"
    specs = [json.dumps(one["spec"]).replace('"seed": 2', '"seed": 1') for one in adapters]
    assert len({spec.replace('"seed": 3', '"seed": 1') for spec in specs}) == 1
    # Of five candidates: MMLU in two subjects, and three others.
    assert len(made_of(made, "scores")) == 5 * (2 + 3)


@pytest.mark.e2e
def test_the_comparison_has_the_spread_of_every_kind_of_benchmark(made: Path):
    (file,) = (made / "results/comparisons").glob("*/comparison.json")
    document = read_comparison(file.parent)
    assert document["groups"] == {"low": {"base": "tiny", "members": MEMBERS}}
    assert set(document["seeds"]) == {"mmlu", "say", "domain", "duel"}
    for benchmark, found in document["seeds"].items():
        for effect in found["effects"]["low"].values():
            low, high = effect["seed_range"]
            assert low <= effect["difference"] <= high and effect["seeds"] == 3
        (pair,) = found["pairs"]
        assert (pair["one"], pair["other"], pair["spread_of"]) == ("low", "high", ["low"]), (
            benchmark
        )
    losses = document["held_out"]["domain"]["differences"]
    single = [losses[name]["loss"]["difference"] for name in MEMBERS]
    effect = document["seeds"]["domain"]["effects"]["low"]["loss"]
    assert effect["difference"] == pytest.approx(sum(single) / 3)
    assert effect["seed_range"] == pytest.approx([min(single), max(single)])
    assert effect["seed_sd"] > 0 and effect["interval"] is not None


@pytest.mark.e2e
def test_the_page_shows_one_line_for_all_seeds_with_each_of_them_below(made: Path):
    (page,) = (made / "results/reports").glob("*/index.html")
    html = page.read_text(encoding="utf-8")
    answer = re.search(r'<div class="card answer">.*?</div>', html, re.DOTALL)[0]
    assert "Three trainings with other seeds" in answer and "nats per token on average" in answer
    assert not any(member in answer for member in MEMBERS)
    for anchor in ("scores", "held-out", "judged"):
        section = re.search(rf'<section id="{anchor}".*?</section>', html, re.DOTALL)[0]
        first = re.search(r"<table[^>]*>.*?</table>", section, re.DOTALL)[0]
        assert "mean of 3 seeds" in first and not re.search(r"low-seed\d\b", first), anchor
        assert section.count("low: the three trainings one by one") >= 1
        assert all(member in section for member in MEMBERS)
    assert (
        "another seed gives" in re.search(r'<section id="seeds".*?</section>', html, re.DOTALL)[0]
    )

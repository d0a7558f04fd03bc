"""Each example is a configuration that can be planned, and says what has to be filled in."""

import re
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from scripts.lib.artifacts.graph import Graph
from scripts.lib.config.load import load_config, read_config_file
from scripts.lib.errors import ConfigError
from scripts.lib.plan import invocation
from scripts.lib.plan.pinning import pinned

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "config/examples").glob("*.yaml"))
PLACEHOLDER = "COMMIT"

EXPECTED = {
    "combine": {"first", "second", "first-unmerged", "mean", "ties"},
    "domain_benchmark": {"tuned"},
    "llama3_sft": {"sft"},
    "mmlu_smollm2": {"tickets"},
    "qlora": {"qlora", "lora"},
    "replay": {"plain", "replay-general0.0526", "replay-general0.25"},
    "r1_distill": {"sft", "sft-more-rank"},
    "seeds": {"orders-seed1", "orders-seed2", "orders-seed3"},
    "smoltalk": {"chat"},
    "smoltalk_shares": {"shares"},
    "sweep": {
        "orders-r4-lr5e-4",
        "orders-r4-lr2e-3",
        "orders-r16-lr5e-4",
        "orders-r16-lr2e-3",
    },
}
"""Example -> the candidates beside the base."""


def content(path: Path) -> dict:
    """Return an example with a commit in each place that is left open."""

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return "0" * 40 if value == PLACEHOLDER else value

    found: dict = filled(read_config_file(path))
    return found


def graph_of(path: Path, folder: Path) -> Graph:
    # Where an example says that MMLU is to lie, the demo's subjects do.
    (folder / "data").mkdir()
    (folder / "data/mmlu").symlink_to(ROOT / "resources/demo/mmlu")
    with chdir(folder):
        return invocation.graph_of(content(path), ROOT)


def test_every_example_is_expected_here():
    assert {path.stem for path in EXAMPLES} == set(EXPECTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_planned_without_a_network(path, tmp_path):
    graph = graph_of(path, tmp_path)
    tuned = {c.name for c in graph.candidates if c.kind != "base"}
    assert tuned == EXPECTED[path.stem]
    assert graph.report in graph.artifacts
    for candidate in graph.candidates:
        assert all(candidate.scores.values())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_revision_is_made_up(path):
    """A hash in an example would be believed; only a person can look it up."""
    assert not re.search(r"\b[0-9a-f]{40}\b", path.read_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_is_left_open_is_refused_with_the_command_that_tells_it(path):
    raw = read_config_file(path)
    places = path.read_text().count(f"revision: {PLACEHOLDER}\n")
    if not places:
        load_config(raw)
        return
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(lines) == places
    assert all("`tunesmith pin FILE`" in line and ".revision: 'COMMIT'" in line for line in lines)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_is_left_open_is_filled_in_by_pinning(path):
    asked = []

    def newest(repository, revision, kind):
        asked.append((repository, revision))
        return "0" * 40

    text, _ = pinned(path.read_text(), newest)
    load_config(yaml.safe_load(text))
    assert all(revision is None for _, revision in asked)


def test_the_example_of_combinations_shares_what_is_equal(tmp_path):
    graph = graph_of(ROOT / "config/examples/combine.yaml", tmp_path)
    of = {candidate.name: candidate for candidate in graph.candidates}
    assert of["first"].artifacts["adapters"] == of["first-unmerged"].artifacts["adapters"]
    assert [c.name for c in graph.candidates if c.unmerged] == ["first-unmerged"]
    assert {of[name].base for name in ("mean", "ties")} == {"smollm2"}

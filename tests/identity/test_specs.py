"""The specs of the graph are what the stages' own dataclasses take, after a way through JSON."""

import dataclasses
import importlib
import json

import pytest

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.canonical import canonical_json
from scripts.lib.data.templates import OWN
from scripts.lib.train.full_tuning import WITHOUT_ADAPTER
from tests.identity.mutants import leaves
from tests.identity.rows_lm_eval import make_task_world
from tests.identity.worlds import (
    make_blend_world,
    make_choice_world,
    make_full_world,
    make_held_out_world,
    make_hub_world,
    make_left_out_world,
    make_local_world,
    make_mixture_world,
    make_pairs_world,
)

SPECS = {
    "chat": ("data.format_spec", "FormatSpec", None),
    "contamination": ("contamination.finding", "ContaminationSpec", None),
    "shards": ("data.rendering", "RenderSpec", None),
    "adapters": ("train.spec", "TrainSpec", "from_json"),
    "trained": ("train.full_tuning", "FullSpec", "from_json"),
    "combined": ("merge.combining", "CombineSpec", "from_json"),
    "merged": ("report.card", "CardSpec", None),
    "scores": ("score.scoring", "ScoreSpec", None),
    "judgements": ("judge.local", "JudgeSpec", None),
    "remote_judgements": ("judge.remote", "RemoteJudgeSpec", None),
    "categories": ("score.aggregation", "AggregateSpec", "from_json"),
    "comparisons": ("compare.spec", "CompareSpec", "from_json"),
    "reports": ("report.page", "ReportSpec", "from_json"),
}
"""Stage -> module, dataclass, how its program makes one; fetching, dropping, proving, showing and
comparing weights have none."""


WORLDS = (
    make_local_world,
    make_hub_world,
    make_blend_world,
    make_choice_world,
    make_full_world,
    make_held_out_world,
    make_mixture_world,
    make_task_world,
    make_pairs_world,
    make_left_out_world,
)


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> dict[str, list[dict]]:
    """Every spec of the worlds by stage, as a job reads it."""
    folder = tmp_path_factory.mktemp("specs")
    found: dict[str, list[dict]] = {}
    for make in WORLDS:
        world = make(folder / make.__name__)
        for artifact in world.graph().artifacts.values():
            spec = json.loads(canonical_json(artifact.spec))
            found.setdefault(artifact.stage, []).append(spec)
    return found


def build(stage: str, spec: dict):
    """Make the dataclass of a stage as its program does."""
    module, name, constructor = SPECS[stage]
    spec_class = getattr(importlib.import_module(f"scripts.lib.{module}"), name)
    return getattr(spec_class, constructor)(spec) if constructor else spec_class(**spec)


@pytest.mark.parametrize("stage", SPECS)
def test_every_spec_of_the_graph_builds_the_dataclass_of_its_stage(stage, specs):
    for spec in specs[stage]:
        assert dataclasses.is_dataclass(build(stage, spec))


@pytest.mark.parametrize("stage", SPECS)
def test_a_spec_is_frozen(stage, specs):
    spec = build(stage, specs[stage][0])
    for field in dataclasses.fields(spec):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec, field.name, None)


@pytest.mark.parametrize(
    "stage",
    [
        "chat",
        "contamination",
        "shards",
        "adapters",
        "trained",
        "combined",
        "scores",
        "judgements",
        "remote_judgements",
        "categories",
    ],
)
def test_every_field_of_the_dataclass_stands_in_the_key(stage, specs):
    """A field with a default that the graph leaves out would be identity without a key."""
    for spec in specs[stage]:
        built = dataclasses.asdict(build(stage, spec))
        if stage in ("scores", "judgements") and built["template"] == OWN:
            del built["template"]  # a model without one keeps the keys that it had
        if stage == "chat":  # as does a dataset whose rows are split and kept as ever
            built = {
                name: value
                for name, value in built.items()
                if value is not None or name not in ("split_by", "near_duplicates")
            }
        if stage in ("adapters", "trained") and not built["mixture"]:
            del built["mixture"]  # as does a run on one dataset as it is
        fields = {name for name, _ in leaves(built)}
        assert {name.split(".")[0] for name in fields} == set(spec)
        if stage == "trained":
            fields -= {f"training.{name}" for name in WITHOUT_ADAPTER}
        if stage in ("adapters", "trained"):
            assert fields == {name for name, _ in leaves(spec)}


def test_every_stage_that_has_a_spec_is_held_here():
    without = {"models", "raw", "benchmarks", "proofs", "examples", "changes"}
    without |= {"given_adapters", "budgets", "decontaminated"}
    assert set(SPECS) == set(STAGES) - without

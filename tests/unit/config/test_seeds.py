"""Runs with seeds: what they become, and what is refused."""

import pytest

from scripts.lib.config.load import load_config
from tests.unit.config.test_config_candidates import PLACE
from tests.unit.config.test_sweep import GRID_LIMIT, config_with, errors_of


def seeded(seeds, **settings):
    """Return a configuration with one run, `gentle`, of these seeds."""
    mapping = config_with({})
    run = {"model": "base", "dataset": "orders", "seeds": seeds, **settings}
    mapping["runs"] = {"gentle": run}
    return mapping


def test_a_run_with_seeds_is_one_run_for_each_that_differs_in_nothing_else():
    config = load_config(seeded([1, 2, 3], lora={"r": 4}))
    assert list(config.runs) == ["gentle-seed1", "gentle-seed2", "gentle-seed3"]
    assert [run.training.seed for run in config.runs.values()] == [1, 2, 3]
    dumps = [run.model_dump() for run in config.runs.values()]
    for dump in dumps:
        del dump["training"]["seed"]
    assert dumps[0] == dumps[1] == dumps[2] and dumps[0]["lora"]["r"] == 4
    assert dict(config.replicates) == {"gentle": tuple(config.runs)}


def test_each_point_of_a_sweep_gets_the_seeds_and_is_a_group_of_its_own():
    config = load_config(seeded([1, 2], sweep={"lora.r": [8, 16]}))
    assert dict(config.replicates) == {
        "gentle-r8": ("gentle-r8-seed1", "gentle-r8-seed2"),
        "gentle-r16": ("gentle-r16-seed1", "gentle-r16-seed2"),
    }
    assert [(r.lora.r, r.training.seed) for r in config.runs.values()] == [
        (8, 1),
        (8, 2),
        (16, 1),
        (16, 2),
    ]


def test_runs_without_seeds_form_no_group():
    mapping = config_with({"training.seed": [1, 2]}, plain={"model": "base", "dataset": "orders"})
    assert not load_config(mapping).replicates
    assert not load_config(seeded(None)).replicates


@pytest.mark.parametrize(
    ("seeds", "settings", "path", "text"),
    [
        ([7], {}, "seeds", "[7] is one seed, which shows no spread; give two or more"),
        ([1, 2, 1], {}, "seeds", "names the seed 1 twice"),
        ([], {}, "seeds", "allowed: a list of two or more whole numbers"),
        (3, {}, "seeds", "allowed: a list of two or more whole numbers"),
        ("1, 2", {}, "seeds", "allowed: a list of two or more whole numbers"),
        ([1, "x"], {}, "seeds[1]", "'x' is refused; allowed: a whole number"),
        ([-1, 2], {}, "seeds[0]", "-1 is refused; allowed: a whole number"),
        ([1, 2.5], {}, "seeds[1]", "2.5 is refused; allowed: a whole number"),
        ([True, 2], {}, "seeds[0]", "true is refused; allowed: a whole number"),
        ([2, [1]], {}, "seeds[1]", "[1] is refused"),
        ([1, 2], {"training": {"seed": 1}}, "seeds", "and training.seed both say"),
        ([1, 2], {"sweep": {"training.seed": [3, 4]}}, "seeds", "and the sweep over training.seed"),
        ([1, 2], {"sweep": {"seeds": [3, 4]}}, "sweep.seeds", "unknown key"),
        (list(range(GRID_LIMIT + 1)), {}, "seeds", "makes 1001 runs; allowed: at most 1000"),
        ([1, 2], {"lora": {"r": 0}}, "lora.r", "0 is refused"),
        ([1, 2], {"training": {"sed": 0}}, "training.sed", "did you mean 'seed'?"),
    ],
)
def test_seeds_that_tell_nothing_or_contradict_are_refused_once_with_the_reason(
    seeds, settings, path, text
):
    (line,) = errors_of(seeded(seeds, **settings))
    assert line.startswith(f"runs.gentle.{path}: ") and text in line


@pytest.mark.parametrize("section", ["models", "runs"])
def test_the_name_for_all_seeds_is_nobody_else_s(section):
    mapping = seeded([1, 2], sweep={"lora.r": [8]})
    other = {"path": "p"} if section == "models" else {"model": "base", "dataset": "orders"}
    mapping[section]["gentle-r8"] = other
    assert any("'gentle-r8' is the name for gentle-r8-seed1" in line for line in errors_of(mapping))


def test_a_combination_of_a_run_with_seeds_is_told_the_names_of_its_runs():
    mapping = seeded([1, 2])
    mapping["runs"]["grid"] = mapping["runs"]["gentle"] | {"sweep": {"lora.r": [8]}}
    mapping["candidates"] = {"blend": {"combine": {"gentle": 1, "grid-r8": 1}}}
    assert errors_of(mapping) == [
        "candidates.blend.combine.gentle: has seeds; name its runs: gentle-seed1, gentle-seed2",
        "candidates.blend.combine.grid-r8: has seeds; name its runs: grid-r8-seed1, grid-r8-seed2",
    ]
    mapping["candidates"] = {"blend": {"combine": {"gentle-seed1": 0.5, "gentle-seed2": 0.5}}}
    load_config(mapping)


def test_several_seeds_are_not_published_over_each_other():
    (line,) = errors_of(seeded([1, 2], **PLACE))
    assert line.startswith("runs.gentle.publish.repo_id: gentle-seed2 and gentle-seed1 would both")
    assert "give the one to publish an entry of its own; it is not trained again" in line
    mapping = seeded([1, 2])
    mapping["runs"]["chosen"] = mapping["runs"]["gentle"] | {"training": {"seed": 1}, **PLACE}
    del mapping["runs"]["chosen"]["seeds"]
    load_config(mapping)

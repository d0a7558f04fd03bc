"""Sweeps: the runs they make, their names, and what they refuse."""

import pytest

from scripts.lib.config.load import load_config
from scripts.lib.config.sweep import GRID_LIMIT, at_point, grid_points, point_name, value_text
from scripts.lib.errors import ConfigError


def config_with(sweep: dict, **others: dict) -> dict:
    return {
        "models": {"base": {"path": "m"}, "small": {"path": "s"}},
        "datasets": {"orders": {"path": "orders.jsonl"}},
        "runs": {"grid": {"model": "base", "dataset": "orders", "sweep": sweep}} | others,
        "benchmarks": {"mmlu": {"kind": "mmlu", "path": "mmlu"}},
    }


def errors_of(mapping: dict) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(mapping)
    return [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]


def test_a_sweep_becomes_every_combination_in_order():
    runs = load_config(
        config_with({"lora.r": [8, 16], "training.learning_rate": [2e-4, "1e-4"]})
    ).runs
    assert list(runs) == ["grid-r8-lr2e-4", "grid-r8-lr1e-4", "grid-r16-lr2e-4", "grid-r16-lr1e-4"]
    run = runs["grid-r16-lr1e-4"]
    assert (run.lora.r, run.training.learning_rate, run.lora.alpha) == (16, 1e-4, 32)


def test_runs_stand_where_their_sweep_stood():
    mapping = config_with({"lora.r": [8]}, plain={"model": "base", "dataset": "orders"})
    assert list(load_config(mapping).runs) == ["grid-r8", "plain"]


def test_a_swept_value_wins_over_the_runs_own():
    mapping = config_with({"lora.r": [8]})
    mapping["runs"]["grid"]["lora"] = {"r": 4, "alpha": 4}
    run = load_config(mapping).runs["grid-r8"]
    assert (run.lora.r, run.lora.alpha) == (8, 4)


def test_a_required_key_may_come_from_the_sweep():
    mapping = config_with({"model": ["base", "small"]})
    del mapping["runs"]["grid"]["model"]
    runs = load_config(mapping).runs
    assert {name: run.model for name, run in runs.items()} == {
        "grid-model_base": "base",
        "grid-model_small": "small",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8, "8"),
        (100000, "100000"),
        (2e-4, "2e-4"),
        (1.5e-5, "1.5e-5"),
        (0.05, "0.05"),
        (0.1, "0.1"),
        (3.0, "3"),
        (0.0, "0"),
        (True, "on"),
        (False, "off"),
        (None, "none"),
        ("nf4", "nf4"),
        ("templates/My Own.jinja", "templates-my-own.jinja"),
        ("../up.jinja", "up.jinja"),
    ],
)
def test_values_are_short_and_fit_for_names(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize("value", [1e-4, 3.3e-5, 0.1 + 0.2, 1e22, 5e-324, 1000.0, 0.0123])
def test_the_short_form_of_a_float_is_exactly_its_value(value):
    assert float(value_text(value)) == value


def test_words_are_set_off_from_their_key():
    assert point_name("g", {"training.packing": True, "lora.r": 8}) == "g-packing_on-r8"


def test_a_point_leaves_the_run_as_it_was():
    run = {"lora": {"r": 4}, "sweep": {"lora.r": [8]}}
    assert at_point(run, {"lora.r": 8}) == {"lora": {"r": 8}}
    assert run == {"lora": {"r": 4}, "sweep": {"lora.r": [8]}}


def test_the_last_key_varies_fastest():
    assert grid_points({"a": [1, 2], "b": [3, 4]}) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("lora.rr", "unknown key; did you mean 'lora.r'?"),
        ("learning_rate", "unknown key; did you mean 'training.learning_rate'?"),
        ("lora", "is a group; keys in it are: lora.r, lora.alpha"),
        ("keep_merged", "does not change the result"),
        ("seeds", "unknown key; it stands beside the sweep"),
    ],
)
def test_a_sweep_over_no_setting_is_told_the_nearest(key, text):
    (line,) = errors_of(config_with({key: [1]}))
    assert line.startswith(f"runs.grid.sweep.{key}: {text}")


def test_each_wrong_value_of_a_sweep_is_named_once():
    lines = errors_of(config_with({"lora.r": [8, "x", [1]], "training.epochs": [-1, 1]}))
    assert lines == [
        "runs.grid.sweep.lora.r[1]: 'x' is refused; allowed: a whole number, at least 1",
        "runs.grid.sweep.lora.r[2]: [1] is refused; allowed: single values",
        "runs.grid.sweep.training.epochs[0]: -1 is refused; allowed: a number, more than 0",
    ]


def test_values_that_do_not_go_together_are_told_with_the_run_that_they_would_make():
    """Each is good by itself; without a word, the whole grid would be gone."""
    both = {"training.warmup_steps": [None, 10], "training.warmup_ratio": [0.03, 0.1]}
    (line,) = errors_of(config_with(both))
    assert line.startswith("runs.grid.sweep.training.warmup_ratio: 0.03 and warmup_steps say the")
    assert line.endswith("(in the run grid-warmup_steps10-warmup0.03)")
    own = config_with({"training.warmup_steps": [None, 10]})
    own["runs"]["grid"]["training"] = {"warmup_ratio": 0.1}
    (line,) = errors_of(own)
    assert line.startswith("runs.grid.training.warmup_ratio: 0.1 and warmup_steps say the same")


def test_what_is_wrong_beside_a_sweep_is_told_once():
    mapping = config_with({"lora.r": [8, 16]})
    mapping["runs"]["grid"]["training"] = {"epochs": -1}
    assert errors_of(mapping) == [
        "runs.grid.training.epochs: -1 is refused; allowed: a number, more than 0"
    ]


def test_a_dangling_reference_in_a_sweep_is_named():
    assert errors_of(config_with({"model": ["base", "smal"]})) == [
        "runs.grid.sweep.model[1]: 'smal' is no model; did you mean 'small'?"
        " models are: base, small"
    ]


@pytest.mark.parametrize("sweep", [{}, {"lora.r": []}, {"lora.r": 8}, {"lora.r": "8"}, [8], 8])
def test_a_sweep_of_no_values_is_refused(sweep):
    (line,) = errors_of(config_with(sweep))
    assert line.startswith("runs.grid.sweep")


def test_a_value_that_stands_twice_is_refused():
    (line,) = errors_of(config_with({"training.learning_rate": [1e-4, "1e-4"]}))
    assert line.startswith("runs.grid.sweep: makes the run 'grid-lr1e-4' twice")


def test_two_entries_that_make_one_name_are_refused():
    mapping = config_with({"lora.r": [8]}, **{"grid-r8": {"model": "base", "dataset": "orders"}})
    assert errors_of(mapping) == [
        "runs.grid-r8: and runs.grid both make the run 'grid-r8'; rename one"
    ]


def test_a_run_of_a_sweep_is_not_named_like_a_model():
    mapping = config_with({"lora.r": [8]})
    mapping["models"]["grid-r8"] = {"path": "p"}
    assert errors_of(mapping) == ["runs.grid: 'grid-r8' is the name of a model too; rename one"]


def test_a_sweep_may_be_named_like_a_model_as_no_run_has_that_name():
    mapping = config_with({"lora.r": [8]})
    mapping["models"]["grid"] = {"path": "p"}
    assert list(load_config(mapping).runs) == ["grid-r8"]


def test_a_name_grown_too_long_is_refused():
    mapping = config_with({})
    mapping["runs"] = {"a" * 58: mapping["runs"]["grid"] | {"sweep": {"lora.r": [8, 16]}}}
    lines = errors_of(mapping)
    assert len(lines) == 2
    assert all("at most 60 characters" in line for line in lines)


def test_a_grid_beyond_reason_is_refused_at_once():
    seeds = list(range(100))
    (line,) = errors_of(config_with({"training.seed": seeds, "lora.r": list(range(1, 102))}))
    assert line == f"runs.grid.sweep: makes 10100 runs; allowed: at most {GRID_LIMIT}"

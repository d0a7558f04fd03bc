"""A run's dataset: one name, or several with weights, repeats and caps."""

import pytest

from scripts.lib.config.load import load_config
from scripts.lib.errors import ConfigError


def config_with(dataset: object, **run: object) -> dict:
    names = ("own", "general", "v1.5")
    return {
        "models": {"base": {"path": "m"}},
        "datasets": {name: {"path": f"{name}.jsonl"} for name in names},
        "runs": {"mix": {"model": "base", "dataset": dataset, **run}},
        "benchmarks": {"mmlu": {"kind": "mmlu", "path": "mmlu"}},
    }


def errors_of(mapping: dict) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(mapping)
    return [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]


def read(dataset: object) -> dict[str, tuple]:
    members = load_config(config_with(dataset)).runs["mix"].dataset
    return {name: (one.weight, one.repeat, one.max_rows) for name, one in members.items()}


PLAIN = (None, 1, None)


@pytest.mark.parametrize(
    ("dataset", "members"),
    [
        ("own", {"own": PLAIN}),
        (["own", "general"], {"own": PLAIN, "general": PLAIN}),
        ({"own": None, "general": None}, {"own": PLAIN, "general": PLAIN}),
        ({"own": 4, "general": "1e0"}, {"own": (4, 1, None), "general": (1, 1, None)}),
        (
            {"own": {"repeat": 2}, "general": {"max_rows": 500}},
            {"own": (None, 2, None), "general": (None, 1, 500)},
        ),
        (
            {"own": {"weight": 0.5, "max_rows": 9}, "v1.5": 0.5},
            {"own": (0.5, 1, 9), "v1.5": (0.5, 1, None)},
        ),
    ],
)
def test_each_form_of_a_dataset_is_read(dataset, members):
    assert read(dataset) == members


@pytest.mark.parametrize(
    ("dataset", "place", "words"),
    [
        ("ow", "dataset", "did you mean 'own'?"),
        (["own", "genral"], "dataset[1]", "did you mean 'general'?"),
        ({"own": 1, "genral": 1}, "dataset.genral", "did you mean 'general'?"),
        ({}, "dataset", "names no dataset"),
        (None, "dataset", "allowed: a name under `datasets`"),
        (3, "dataset", "allowed: a name under `datasets`"),
        ({"own": 1, "general": None}, "dataset.general.weight", "give general a weight, too, or"),
        ({"own": 0, "general": 1}, "dataset.own.weight", "more than 0"),
        ({"own": -1, "general": 1}, "dataset.own.weight", "more than 0"),
        ({"own": "much", "general": 1}, "dataset.own.weight", "'much' is refused"),
        ({"own": True, "general": 1}, "dataset.own", "true is refused"),
        ({"own": {"repeat": 0}}, "dataset.own.repeat", "at least 1"),
        ({"own": {"repeat": 1.5}}, "dataset.own.repeat", "a whole number"),
        ({"own": {"max_rows": 0}}, "dataset.own.max_rows", "at least 1"),
        ({"own": {"wieght": 2}}, "dataset.own.wieght", "did you mean 'weight'?"),
    ],
)
def test_what_is_no_dataset_is_refused_with_its_place_and_what_to_write(dataset, place, words):
    (line,) = errors_of(config_with(dataset))
    assert line.startswith(f"runs.mix.{place}: ")
    assert words in line


@pytest.mark.parametrize(
    "dataset", [{"own": 4, "general": 1}, {"own": {"weight": 4}, "general": 1}]
)
def test_a_weight_is_swept_and_names_its_runs(dataset):
    config = load_config(config_with(dataset, sweep={"dataset.general.weight": [1, 0.25]}))
    assert {name: run.dataset["general"].weight for name, run in config.runs.items()} == {
        "mix-general1": 1,
        "mix-general0.25": 0.25,
    }
    assert {run.dataset["own"].weight for run in config.runs.values()} == {4}


def test_caps_and_repeats_are_swept_of_names_with_dots_too():
    sweep = {"dataset.v1.5.max_rows": [10], "dataset.own.repeat": [1, 2]}
    runs = load_config(config_with({"own": None, "v1.5": None}, sweep=sweep)).runs
    assert {
        name: (run.dataset["v1.5"].max_rows, run.dataset["own"].repeat)
        for name, run in runs.items()
    } == {
        "mix-v1.5.max_rows10-own.repeat1": (10, 1),
        "mix-v1.5.max_rows10-own.repeat2": (10, 2),
    }


def test_a_sweep_over_datasets_by_name_goes_on_as_before():
    mapping = config_with("own", sweep={"dataset": ["own", "general"]})
    del mapping["runs"]["mix"]["dataset"]
    runs = load_config(mapping).runs
    assert {name: list(run.dataset) for name, run in runs.items()} == {
        "mix-dataset_own": ["own"],
        "mix-dataset_general": ["general"],
    }


@pytest.mark.parametrize(
    ("sweep", "place", "words"),
    [
        ({"dataset.genral.weight": [1]}, "dataset.genral.weight", "did you mean 'general'?"),
        ({"dataset.general.wieght": [1]}, "dataset.general.wieght", "unknown key"),
        ({"dataset.general.weight": [1, -1]}, "dataset.general.weight[1]", "more than 0"),
        (
            {"dataset.general.weight": [1], "dataset": ["own"]},
            "dataset.general.weight",
            "take one of them out",
        ),
    ],
)
def test_a_sweep_over_what_no_dataset_has_is_refused(sweep, place, words):
    lines = errors_of(config_with({"own": 1, "general": 1}, sweep=sweep))
    assert lines[0].startswith(f"runs.mix.sweep.{place}: ")
    assert words in lines[0]


def test_all_of_a_mixture_hold_rows_out_where_the_loss_on_them_decides():
    mapping = config_with(["own", "general"], training={"keep": "best"})
    mapping["datasets"]["general"]["valid_fraction"] = 0
    (line,) = errors_of(mapping)
    assert line.startswith("runs.mix.training.keep: needs held-out rows, and datasets.general")
    mapping["runs"]["mix"]["training"] = {"eval_every_steps": 5}
    load_config(mapping)


def test_a_mixture_may_be_measured_on_one_of_its_datasets_alone():
    config = load_config(config_with(["own", "general"], evaluate_on=["general"]))
    assert dict(config.runs["mix"].evaluate_on) == {"general": "general"}
    (line,) = errors_of(config_with({"own": {"repeat": 2}}, evaluate_on=["own"]))
    assert "is the dataset of the run" in line

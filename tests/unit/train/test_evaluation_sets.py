"""Several sets of held-out rows: each has its loss, and any of them tells the best weights."""

import json

import pytest

from scripts.lib.errors import TrainingError
from scripts.lib.report.charts import loss_chart
from scripts.lib.train.lora_tuning import train_adapter
from tests.tiny_shards import make_shards, make_tiny_shards
from tests.unit.plan.test_base_templates import HUB, PLAIN, RUN, home, planned  # noqa: F401
from tests.unit.scoring_data import write_rows
from tests.unit.train.test_training import contents, held_out_loss, losses, make_spec

FAST = {"learning_rate": 0.08, "scheduler": "constant", "eval_every_steps": 3, "epochs": 6}


@pytest.fixture(scope="module")
def strange(tmp_path_factory, model):
    """Rows that get worse while the run's own get better."""
    pairs = [(f"What is {number}?", "nothing of the kind, never") for number in range(4)]
    folder = tmp_path_factory.mktemp("strange") / "shards"
    return make_shards(folder, model, {"train": pairs, "valid": pairs})


@pytest.fixture
def train(tmp_path, model, shards):
    def run(name, data=shards, evaluation=(), **changes):
        out = tmp_path / name
        out.mkdir()
        scratch = tmp_path / f"{name}-scratch"
        spec = make_spec(**changes)
        options = {"scratch": scratch, "threads": 1, "evaluation": evaluation}
        return train_adapter(spec, model, data, out, **options), out

    return run


def set_losses(facts, name):
    return {
        event["step"]: event["set_losses"][name]
        for event in facts["history"]
        if "set_losses" in event
    }


def test_each_set_has_the_loss_that_the_model_has_on_it(train, model, strange):
    facts, out = train("both", evaluation=[strange], evaluate_on=["odd.one"], epochs=1)
    alone, plain = train("alone", epochs=1)
    measured = set_losses(facts, "odd.one")
    assert measured[0] == pytest.approx(held_out_loss(model, strange), abs=1e-5)
    last = max(measured)
    assert measured[last] == pytest.approx(held_out_loss(model, strange, out), abs=1e-4)
    assert losses(facts, "valid_loss") == losses(alone, "valid_loss")
    assert facts["verdict"] == alone["verdict"]
    name = "adapter_model.safetensors"
    assert contents(out)[name] == contents(plain)[name]
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert lines == facts["history"]
    chart = loss_chart(facts["history"], label="losses")
    assert ">odd.one<" in chart
    assert ">odd.one<" not in loss_chart(alone["history"], label="losses")


@pytest.mark.parametrize("by", ["valid", "odd"])
def test_the_best_weights_are_those_of_the_named_set_without_an_early_stop(
    train, model, shards, strange, by
):
    sets = {"evaluation": [strange], "evaluate_on": ["odd"]}
    facts, out = train("best", keep="best", best_by=by, **sets, **FAST)
    measured = {
        "odd": set_losses(facts, "odd"),
        "valid": {e["step"]: e["valid_loss"] for e in facts["history"] if "valid_loss" in e},
    }[by]
    del measured[0]
    assert facts["steps"] == 36
    assert facts["kept_step"] == min(measured, key=measured.get)
    rows = {"odd": strange, "valid": shards}[by]
    lowest = measured[facts["kept_step"]]
    assert held_out_loss(model, rows, out) == pytest.approx(lowest, abs=1e-4)


def test_an_early_stop_may_follow_a_named_set_and_keep_the_last_weights(train, strange):
    sets = {"evaluation": [strange], "evaluate_on": ["odd"], "best_by": "odd"}
    facts, _ = train("last", keep="last", early_stopping_patience=1, **sets, **FAST)
    measured = set_losses(facts, "odd")
    del measured[0]
    assert facts["kept_step"] == facts["steps"] == max(measured) < 36
    assert measured[facts["steps"]] >= measured[facts["steps"] - 3]


def test_a_run_without_held_out_rows_is_measured_on_those_of_others(
    train, model, strange, tmp_path
):
    alone = make_tiny_shards(tmp_path / "alone", model, valid=0)
    sets = {"evaluation": [strange], "evaluate_on": ["odd"]}
    facts, _ = train("others", data=alone, keep="best", best_by="odd", epochs=1, **sets)
    assert losses(facts, "valid_loss") == []
    assert facts["kept_step"] in set_losses(facts, "odd")


def test_a_set_without_a_held_out_row_is_refused(train, model, tmp_path):
    alone = make_tiny_shards(tmp_path / "alone", model, valid=0)
    with pytest.raises(TrainingError, match=r"evaluate_on: odd: .* holds no held-out row"):
        train("empty", evaluation=[alone], evaluate_on=["odd"])


def test_rows_of_a_set_that_change_train_anew_and_a_dataset_of_another_name_does_not(home):  # noqa: F811
    def adapter(datasets, sets):
        for name, rows in datasets.items():
            write_rows(home / f"{name}.jsonl", [{"prompt": "a", "completion": r} for r in rows])
        more = {name: {"path": f"{name}.jsonl"} for name in datasets}
        graph = planned(
            home,
            {"b": PLAIN},
            model=HUB,
            runs={"r": RUN | {"evaluate_on": sets}},
            datasets={"orders": {"path": "train.jsonl", "test_fraction": 0.1}, **more},
        )
        (one,) = (one for one in graph.artifacts.values() if one.stage == "adapters")
        return one

    rows = [str(number) for number in range(40)]
    first = adapter({"x": rows}, {"talk": "x"})
    assert first.key == adapter({"y": rows}, {"talk": "y"}).key
    others = [
        adapter({"x": [*rows, "new"]}, {"talk": "x"}),
        adapter({"x": rows}, {"chat": "x"}),
        adapter({"x": rows}, {}),
    ]
    assert len({first.key, *(one.key for one in others)}) == 4
    assert "evaluation" not in others[-1].reads

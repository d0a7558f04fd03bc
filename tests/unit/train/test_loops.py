"""Each way to train, really trained on a tiny model; a stopped run goes on to the same bytes."""

from contextlib import contextmanager

import pytest

from scripts.lib.errors import TrainingError
from scripts.lib.train import training
from scripts.lib.train.lora_tuning import train_adapter
from tests.tiny_model import make_tiny_model
from tests.tiny_shards import make_tiny_shards
from tests.unit.train.test_training import contents, losses, make_spec

WAYS = {
    "adamw_torch": {"optim": "adamw_torch", "adam_beta2": 0.95},
    "adafactor": {"optim": "adafactor"},
    "sgd": {
        "optim": "sgd",
        "optim_args": {"momentum": 0.9, "nesterov": True},
        "learning_rate": 5.0,
    },
    "adagrad": {"optim": "adagrad", "learning_rate": 0.05},
    "rmsprop": {"optim": "rmsprop"},
    "plateau": {
        "scheduler": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5, "threshold": 0.2},
        "eval_every_steps": 2,
    },
    "stable decay": {
        "scheduler": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": 4, "decay_type": "1-sqrt"},
        "warmup_steps": 2,
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def shards(tmp_path_factory, model):
    return make_tiny_shards(tmp_path_factory.mktemp("data") / "shards", model)


@pytest.fixture
def train(tmp_path, model, shards):
    """Train and return facts and folder; runs of one name share checkpoints."""

    def run(name, **changes):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        spec = make_spec(**changes)
        scratch = tmp_path / f"{name}-scratch"
        return train_adapter(spec, model, shards, out, scratch=scratch, threads=1), out

    return run


class StopAfter:
    """Asks a training to end behind its first steps."""

    def __init__(self, steps):
        self._left = steps + 1

    @contextmanager
    def listening(self):
        yield

    @property
    def received(self):
        self._left -= 1
        return self._left <= 0


@pytest.mark.parametrize("way", WAYS)
def test_each_way_learns_and_goes_on_after_a_stop_to_the_same_bytes(train, monkeypatch, way):
    changes = {"dropout": 0.1, "epochs": 2} | WAYS[way]
    with monkeypatch.context() as stopping:
        stopping.setattr(training, "StopRequest", lambda: StopAfter(5))
        with pytest.raises(TrainingError, match="stopped after step"):
            train("stopped", **changes)
    facts, resumed = train("stopped", **changes)
    expected, unbroken = train("unbroken", **changes)
    assert contents(resumed) == contents(unbroken)
    assert facts == expected
    valid = losses(facts, "valid_loss")
    assert valid[-1] < valid[0] - 0.03


def test_a_rate_that_follows_the_held_out_loss_falls_where_that_does_not(train):
    facts, _ = train("plateau", **WAYS["plateau"])
    rates = losses(facts, "learning_rate")
    assert rates[0] == 1e-2
    assert rates[-1] in {1e-2 / 2**halvings for halvings in range(1, 7)}


def test_a_run_of_one_step_with_a_warm_up_is_refused_before_the_model_is_loaded(
    train, monkeypatch, capfd
):
    monkeypatch.setattr(training, "_fit", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(TrainingError, match="learning rate 0 in the one step"):
        train("one", epochs=1, batch_size=24, warmup_ratio=0.03)
    with pytest.raises(pytest.fail.Exception):
        train("two", epochs=2, batch_size=24, warmup_steps=2)
    assert "rises in all of the 2 steps" in capfd.readouterr().err

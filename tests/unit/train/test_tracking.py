"""Trackers are told of a training; what they do, and that they fail, changes nothing of it."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from scripts.lib.train import trackers
from scripts.lib.train.trackers import TRACKERS, missing_tracker
from scripts.lib.train.tracking import EVENTS, PLACES, Tracking
from tests.unit.train.test_training import contents, make_spec

RUN = {"dropout": 0.1, "epochs": 1, "eval_every_steps": 3}


@pytest.fixture
def tracking(tmp_path, monkeypatch):
    """What to report to some trackers, with none of their variables set before or after."""
    for variable in PLACES:
        monkeypatch.setenv(variable, "x")
        monkeypatch.delenv(variable)

    def to(*names, folder=tmp_path / "trackers"):
        return Tracking(report_to=names, project="cafes", folder=Path(folder), name="gentle-0123")

    return to


def test_each_tracker_of_transformers_is_offered_and_no_other():
    assert set(TRACKERS) == set(INTEGRATION_TO_CALLBACK)


def test_a_package_that_is_not_installed_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    assert "make trackers" in missing_tracker("wandb")
    assert "pip install comet-ml" in missing_tracker("comet_ml")
    assert missing_tracker("kubeflow") is None
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    assert [missing_tracker(name) for name in TRACKERS] == [None] * len(TRACKERS)


def broken_at(event, seen):
    """A tracker that fails at one event, draws random numbers and meddles at all."""

    class Broken(TrainerCallback):
        pass

    def meddle(self, args, state, control, **named):
        seen.append(event)
        random.random(), np.random.rand(), torch.rand(3)
        control.should_training_stop = control.should_save = True
        state.global_step += 1
        if "logs" in named:
            named["logs"].clear()
        raise SystemExit("down") if event == "on_log" else ConnectionError("down")

    setattr(Broken, event, meddle)
    return Broken


def test_trackers_that_are_down_change_no_byte_and_are_said_once(
    train,
    tracking,
    monkeypatch,
    capfd,
):
    seen = []
    # An event of each tracker, and one that cannot even be made.
    events = [event for event in EVENTS if event not in ("on_predict", "on_substep_end")]
    failing = dict(zip(TRACKERS[1:], events, strict=False))
    for name, event in failing.items():
        monkeypatch.setitem(INTEGRATION_TO_CALLBACK, name, broken_at(event, seen))

    def unmakeable():
        random.random()
        raise ImportError("no module")

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, TRACKERS[0], unmakeable)
    facts, out = train(make_spec(**RUN), tracking=tracking(*TRACKERS))
    told = capfd.readouterr().err
    expected, plain = train(make_spec(**RUN), "plain")
    assert contents(out) == contents(plain)
    assert facts == expected
    assert len(seen) == len(set(seen)) > 8
    assert {"on_train_begin", "on_step_end", "on_log", "on_evaluate", "on_train_end"} <= {*seen}
    for name in [name for name, event in failing.items() if event in seen] + [TRACKERS[0]]:
        assert told.count(f"the tracker {name} failed at") == 1
    assert "training goes on without it" in told


def test_tensorboard_gets_the_losses_by_step_and_the_adapter_stays_as_it_is(
    train,
    tracking,
    tmp_path,
):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    facts, out = train(make_spec(**RUN), tracking=tracking("tensorboard"))
    _, plain = train(make_spec(**RUN), "plain")
    assert contents(out) == contents(plain)
    events = EventAccumulator(str(tmp_path / "trackers/tensorboard/gentle-0123")).Reload()
    told = {e["step"]: e["valid_loss"] for e in facts["history"] if "valid_loss" in e}
    points = {point.step: point.value for point in events.Scalars("eval/loss")}
    assert points == pytest.approx(told)
    assert [point.step for point in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


def test_a_folder_that_tensorboard_cannot_write_ends_no_training(
    train,
    tracking,
    tmp_path,
    capfd,
):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("no folder")
    facts, _ = train(
        make_spec(max_steps=1), tracking=tracking("tensorboard", folder=tmp_path / "file")
    )
    assert facts["steps"] == 1
    assert "the tracker tensorboard failed at train begin" in capfd.readouterr().err


def test_weights_and_biases_is_told_offline_and_without_a_server_ends_no_training(
    train,
    tracking,
    tmp_path,
    monkeypatch,
    capfd,
):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    facts, out = train(make_spec(**RUN), tracking=tracking("wandb"))
    assert "failed at" not in capfd.readouterr().err
    (kept,) = (tmp_path / "trackers/wandb").glob("offline-run-*/run-*.wandb")
    assert b"eval/loss" in kept.read_bytes() and b"gentle-0123" in kept.read_bytes()
    # Nobody listens here, and nobody is logged in.
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    lost, other = train(make_spec(**RUN), "down", tracking=tracking("wandb"))
    assert "the tracker wandb failed at train begin" in capfd.readouterr().err
    _, plain = train(make_spec(**RUN), "plain")
    assert contents(out) == contents(other) == contents(plain)
    assert lost == facts

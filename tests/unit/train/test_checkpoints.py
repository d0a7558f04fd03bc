"""Which checkpoint a start goes on from: whole ones, made in a way that it can go on from."""

import dataclasses
import os
import resource
import shutil
import signal

import pytest

from scripts.lib.errors import TrainingError
from scripts.lib.train import training
from scripts.lib.train.checkpoints import Made, last_checkpoint
from tests.unit.train.test_training import contents, make_spec

NOW = Made(processes=1, micro_batch=4)
RUN = {"dropout": 0.1, "epochs": 1, "eval_every_steps": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory, model, shards):
    """The scratch folder of a run of six steps, with the checkpoints of the last two."""
    from scripts.lib.train.lora_tuning import train_adapter

    folder = tmp_path_factory.mktemp("made")
    (folder / "out").mkdir()
    often = {"scratch": folder / "scratch", "threads": 1, "checkpoint_seconds": 0.0}
    train_adapter(make_spec(**RUN), model, shards, folder / "out", **often)
    return folder / "scratch"


@pytest.fixture
def scratch(made, tmp_path):
    return shutil.copytree(made, tmp_path / "scratch")


def steps(folder):
    return {int(found.name.partition("-")[2]) for found in folder.glob("checkpoint-*")}


def test_the_newest_whole_checkpoint_is_gone_on_from(scratch):
    assert last_checkpoint(scratch, NOW).step == 6
    assert steps(scratch) == {5, 6}


@pytest.mark.parametrize("harm", ["missing", "cut short", "empty"])
def test_a_checkpoint_with_any_file_harmed_is_passed_over_for_the_one_before(
    made, tmp_path, capfd, harm
):
    names = [file.name for file in (made / "checkpoint-6").iterdir()]
    assert {"adapter_model.safetensors", "optimizer.pt", "trainer_state.json", "complete"} < {
        *names
    }
    for name in names:
        scratch = shutil.copytree(made, tmp_path / name)
        file = scratch / "checkpoint-6" / name
        size = {"missing": None, "cut short": file.stat().st_size - 1, "empty": 0}[harm]
        if size is None:
            file.unlink()
        else:
            os.truncate(file, size)
        assert last_checkpoint(scratch, NOW).step == 5, name
        told = capfd.readouterr().err
        assert "checkpoint-6 is not whole" in told and "removed" in told
        assert name in told or name == "complete"
        assert steps(scratch) == {5}


def test_where_no_checkpoint_is_whole_the_run_begins_anew(scratch):
    for step in (5, 6):
        (scratch / f"checkpoint-{step}" / "optimizer.pt").unlink()
    assert last_checkpoint(scratch, NOW) is None
    assert steps(scratch) == set()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"processes": 2, "micro_batch": 2}, "1 process(es) instead of 2, 4 sequences per pass"),
        ({"versions": {**NOW.versions, "torch": "0.0+other"}}, None),
        ({"versions": {**NOW.versions, "torch": NOW.versions["torch"] + "+cu999"}}, "torch"),
        ({"versions": {**NOW.versions, "python": "3.0.0"}}, "python"),
        ({"sharded": True}, None),
    ],
)
def test_what_another_setting_does_to_a_checkpoint_is_told(scratch, capfd, change, words):
    found = last_checkpoint(scratch, dataclasses.replace(NOW, **change))
    told = capfd.readouterr().err
    if words:
        assert found.step == 6
        assert words in told and "the run goes on" in told
        return
    assert found is None and steps(scratch) == set()
    assert "cannot be gone on from: the run begins anew" in told
    # Whoever takes the change back has them again.
    assert steps(scratch / "put-aside") == {5, 6}


def signalling(before_step):
    """What shows progress, and sends SIGTERM between a step and the evaluation due after it."""

    class Signalling(training.Progress):
        def on_log(self, args, state, control, **named):
            if "loss" in state.log_history[-1] and state.global_step == before_step:
                os.kill(os.getpid(), signal.SIGTERM)

    return Signalling


@pytest.mark.parametrize(("step", "kept"), [(3, "checkpoint-3 is in"), (6, "begins anew")])
def test_sigterm_in_an_evaluation_ends_it_and_the_next_start_does_it(
    train,
    monkeypatch,
    step,
    kept,
):
    monkeypatch.setattr(training, "Progress", signalling(step))
    with pytest.raises(TrainingError, match=kept):
        train(make_spec(**RUN))
    monkeypatch.undo()
    facts, out = train(make_spec(**RUN))
    expected, unbroken = train(make_spec(**RUN), "unbroken")
    assert contents(out) == contents(unbroken)
    assert facts == expected


def test_a_run_whose_patience_was_over_does_not_go_on_when_it_is_written_again(train, monkeypatch):
    loop = {"learning_rate": 0.08, "scheduler": "constant", "eval_every_steps": 3, "epochs": 20}
    spec = make_spec(**loop, early_stopping_patience=2)
    with monkeypatch.context() as full, pytest.raises(OSError, match="No space"):
        full.setattr(training, "_write", _no_space)
        train(spec, checkpoint_seconds=0.0)
    facts, out = train(spec, checkpoint_seconds=0.0)
    expected, unbroken = train(spec, "unbroken")
    assert expected["steps"] < 120, "patience ended it"
    assert facts == expected and contents(out) == contents(unbroken)


def _no_space(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_costs_no_run_and_no_older_checkpoint(
    train,
    monkeypatch,
    tmp_path,
    capfd,
):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Filling(training.Keeper):
        """Lets no file grow while the checkpoints of two steps are written."""

        def on_step_end(self, args, state, control, **named):
            super().on_step_end(args, state, control, **named)
            if state.global_step in (3, 4):
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))

        def on_save(self, args, state, control, **named):
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            before = {1: {1}, 2: {1, 2}, 3: {1, 2}, 4: {1, 2}, 5: {2, 5}, 6: {5, 6}}
            assert steps(tmp_path / "run-scratch") == before[state.global_step]

    monkeypatch.setattr(training, "Keeper", Filling)
    facts, out = train(make_spec(**RUN), checkpoint_seconds=0.0)
    told = capfd.readouterr().err
    assert "checkpoint-3 could not be written" in told
    assert "checkpoint-4 could not be written" in told and "Make room" in told
    monkeypatch.undo()
    expected, unbroken = train(make_spec(**RUN), "unbroken")
    assert contents(out) == contents(unbroken)
    assert facts == expected

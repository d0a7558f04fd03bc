"""Memory that runs out in every phase of a training: it goes on with less, and nothing is lost."""

import pytest
import torch
from trl import SFTTrainer

from scripts.lib.train import answers
from scripts.lib.train.trainer import Trainer
from tests.unit.train.test_training import contents, losses, make_spec

STEPS = 6
# One sequence in a pass: what is left to do is to recompute layers, which changes no digit.
RUN = {"max_steps": STEPS, "dropout": 0.1, "eval_every_steps": 3}


@pytest.fixture
def steps(monkeypatch):
    """The steps that were trained, in their order, by the number of those before."""
    done = []
    step = torch.optim.AdamW.step

    def note(self, *arguments, **named):
        found = step(self, *arguments, **named)
        done.append(1)
        return found

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    return done


@pytest.fixture
def runs_out(monkeypatch):
    """Let a method find no memory, each time that *when*, or the first *times* of these."""

    def make(owner, name, when, times=1):
        method, left = getattr(owner, name), [times]

        def short(self, *arguments, **named):
            if left[0] and when(self, *arguments):
                left[0] -= 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
            return method(self, *arguments, **named)

        monkeypatch.setattr(owner, name, short)

    return make


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, model, shards):
    """The facts and files of the run that had memory enough."""
    from scripts.lib.train.lora_tuning import train_adapter

    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "out").mkdir()
    facts = train_adapter(
        make_spec(**RUN, answers=2),
        model,
        shards,
        folder / "out",
        scratch=folder / "scratch",
        threads=1,
        micro_batch=1,
    )
    return facts, contents(folder / "out")


def passes_of(facts):
    return facts["execution"]["micro_batch"], facts["execution"]["recomputed_every"]


def after_step(step):
    """When a trainer has done so many steps and is in the middle of the next one's passes."""
    passes = []

    def here(trainer, *_):
        passes.append(trainer.state.global_step)
        return trainer.state.global_step == step and passes.count(step) == 3

    return here


def held_out(trainer, step):
    return not trainer.model.training and trainer.state.global_step == step


PHASES = {
    "the first step": (Trainer, "training_step", after_step(0), "recomputed"),
    "the middle of a later step": (Trainer, "training_step", after_step(4), "checkpoint-4"),
    "the evaluation at the start": (
        Trainer,
        "compute_loss",
        lambda trainer, *_: held_out(trainer, 0),
        "recomputed",
    ),
    "an evaluation": (
        Trainer,
        "compute_loss",
        lambda trainer, *_: held_out(trainer, 3),
        "checkpoint-3",
    ),
    "answers": (
        answers.AnswerKeeper,
        "on_evaluate",
        lambda _, arguments, state, *__: state.global_step == 3,
        "checkpoint-3",
    ),
    "the optimizer": (
        torch.optim.AdamW,
        "step",
        lambda optimizer, *_: not optimizer.state,
        "recomputed",
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_it_goes_on_from_the_last_step_to_the_bytes_of_a_run_with_memory_enough(
    train, steps, runs_out, unbroken, capfd, phase
):
    owner, name, when, told = PHASES[phase]
    runs_out(owner, name, when)
    facts, out = train(make_spec(**RUN, answers=2), micro_batch=1)
    said = capfd.readouterr().err
    assert "memory ran out; going on with 1 sequences per pass and 4 passes per step" in said
    assert "activations of every second layer recomputed" in said and told in said
    expected, files = unbroken
    assert passes_of(facts) == (1, 2)
    assert {**facts, "execution": expected["execution"]} == expected
    assert contents(out) == files
    assert len(steps) == STEPS, "no step was trained twice"


def test_an_evaluation_of_several_rows_goes_on_with_fewer_where_it_is(
    train, steps, runs_out, capfd
):
    spec = make_spec(max_steps=3, eval_every_steps=3)
    whole, _ = train(spec, "whole", micro_batch=4)
    steps.clear()
    runs_out(
        Trainer,
        "compute_loss",
        lambda trainer, _, inputs: held_out(trainer, 3) and inputs["cu_seq_lens_q"].numel() > 3,
        times=9,
    )
    facts, _ = train(spec, "short", micro_batch=4)
    said = capfd.readouterr().err
    assert "memory ran out in an evaluation; it goes on with 2 sequences at once" in said
    assert said.count("memory ran out") == 1
    assert losses(facts) == losses(whole) and len(steps) == 3
    valid = losses(whole, "valid_loss")
    assert losses(facts, "valid_loss") == pytest.approx(valid, abs=1e-6)


def test_a_checkpoint_that_finds_no_memory_is_written_at_the_second_try(
    train, steps, runs_out, unbroken, tmp_path
):
    runs_out(SFTTrainer, "_save_checkpoint", lambda trainer, *_: trainer.state.global_step == 2)
    facts, out = train(make_spec(**RUN, answers=2), micro_batch=1, checkpoint_seconds=0.0)
    assert facts == unbroken[0] and contents(out) == unbroken[1]
    assert len(steps) == STEPS


def test_where_no_checkpoint_can_be_written_either_the_run_goes_on_from_an_earlier_one(
    train, runs_out, unbroken, capfd
):
    """And the lack of memory is what is told, not what it led to."""
    runs_out(Trainer, "training_step", after_step(4))
    runs_out(SFTTrainer, "_save_checkpoint", lambda *_: True, times=2)
    facts, out = train(make_spec(**RUN, answers=2), micro_batch=1)
    said = capfd.readouterr().err
    assert "the last step could not be saved" in said and "going on from" not in said
    assert facts["steps"] == STEPS and contents(out) == unbroken[1]


def test_fewer_sequences_in_a_pass_go_on_to_the_losses_of_one_start(train, steps, runs_out):
    whole, _ = train(make_spec(max_steps=STEPS), "whole", micro_batch=4)
    steps.clear()
    runs_out(Trainer, "training_step", lambda trainer, *_: trainer.state.global_step == 3)
    short, _ = train(make_spec(max_steps=STEPS), "short", micro_batch=4)
    assert passes_of(short) == (2, 0)
    assert losses(short) == pytest.approx(losses(whole), abs=1e-5)
    assert len(steps) == STEPS


def test_an_evaluation_that_ends_the_run_ends_it_where_memory_ran_out_in_it(train, steps, runs_out):
    """With one pass in a step, which another start must not begin."""
    loop = {"learning_rate": 0.08, "scheduler": "constant", "eval_every_steps": 3, "epochs": 4}
    spec = make_spec(**loop, batch_size=1, early_stopping_patience=1, keep="last", answers=2)
    expected, files = train(spec, "whole", micro_batch=1)
    last = expected["steps"]
    assert last < 96, "patience ended it"
    steps.clear()
    runs_out(
        answers.AnswerKeeper,
        "on_evaluate",
        lambda _, arguments, state, *__: state.global_step == last,
    )
    facts, out = train(spec, "short", micro_batch=1)
    assert len(steps) == last and passes_of(facts) == (1, 2)
    assert {**facts, "execution": expected["execution"]} == expected
    assert contents(out) == contents(files)

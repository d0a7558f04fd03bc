"""Each way to train, really trained on a tiny model; a stopped run goes on to the same bytes."""

import itertools
import math
from contextlib import contextmanager

import pytest
import torch
from torch.nn import functional
from transformers.trainer_pt_utils import LabelSmoother

from scripts.lib.errors import TrainingError
from scripts.lib.progress import VARIABLE, read_note
from scripts.lib.train import training
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.trainer import Trainer, conversation_lengths
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
    "LoRA+": {"loraplus_lr_ratio": 8.0, "learning_rate": 2e-3},
    "LoRA+ by adafactor": {"loraplus_lr_ratio": 8.0, "optim": "adafactor", "learning_rate": 2e-3},
    "NEFTune": {"neftune_noise_alpha": 5.0},
    "label smoothing": {"label_smoothing_factor": 0.1},
    "plateau": {
        "scheduler": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5, "threshold": 0.2},
        "eval_every_steps": 2,
    },
    "the best of all": {"keep": "best", "eval_every_steps": 3, "scheduler": "constant"},
    "stable decay": {
        "scheduler": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": 4, "decay_type": "1-sqrt"},
        "warmup_steps": 2,
    },
}


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


@pytest.fixture
def trainer(monkeypatch, train):
    """Return the trainer of a run as it is before its first step."""

    def make(**changes):
        made = []

        def stop(self, **_):
            made.append(self)
            raise InterruptedError

        monkeypatch.setattr(Trainer, "train", stop)
        with pytest.raises(InterruptedError):
            train("made", **changes)
        (one,) = made
        one.model.train()
        return one

    return make


def batch_of(trainer, rows):
    return trainer.data_collator([trainer.train_dataset[row] for row in rows])


def test_the_smoothed_loss_is_that_of_transformers_and_the_held_out_one_is_not_smoothed(trainer):
    one = trainer(label_smoothing_factor=0.2)
    batch = batch_of(one, range(3))
    rest = {name: value for name, value in batch.items() if name != "labels"}
    logits = one.model(**rest).logits
    expected = LabelSmoother(0.2)({"logits": logits}, batch["labels"], shift_labels=True)
    plain = functional.cross_entropy(logits[0, :-1], batch["labels"][0, 1:])
    assert one.compute_loss(one.model, dict(batch)).item() == pytest.approx(expected.item())
    half = one.compute_loss(one.model, dict(batch), num_items_in_batch=torch.tensor(7))
    smoothed = LabelSmoother(0.2)
    told = smoothed({"logits": logits}, batch["labels"], True, torch.tensor(7))
    assert half.item() == pytest.approx(told.item())
    one.model.eval()
    assert one.compute_loss(one.model, dict(batch)).item() == pytest.approx(plain.item())
    assert abs(expected.item() - plain.item()) > 1e-4


def test_smoothing_of_padded_rows_is_that_of_flat_ones(trainer):
    """As on a GPU without packing, where rows are padded."""
    one = trainer(label_smoothing_factor=0.2)
    flat = batch_of(one, range(3))
    one.data_collator.padding_free = False
    padded = batch_of(one, range(3))
    assert padded["labels"].shape[0] == 3
    one.model.set_attn_implementation("sdpa")
    loss = one.compute_loss(one.model, dict(padded)).item()
    assert loss == pytest.approx(one.compute_loss(one.model, dict(flat)).item(), abs=1e-5)


def test_the_matrices_b_learn_faster_with_lora_plus(trainer):
    one = trainer(loraplus_lr_ratio=16.0, weight_decay=0.1, learning_rate=1e-3, bias="all")
    rates = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in one.create_optimizer().param_groups
        for weight in group["params"]
    }
    trained = {name: one_ for name, one_ in one.model.named_parameters() if one_.requires_grad}
    assert len(rates) == len(trained)
    for name, weight in trained.items():
        rate, decay = rates[id(weight)]
        assert rate == (1e-3 if "lora_A" in name else 1e-3 * 16.0)
        assert decay == (0.0 if "bias" in name else 0.1)


@pytest.mark.parametrize("packing", [True, False])
def test_noise_is_bounded_by_the_length_of_each_conversation(trainer, packing):
    one = trainer(neftune_noise_alpha=5.0, packing=packing)
    batch = batch_of(one, range(2))
    lengths = conversation_lengths(batch)[0]
    ends = batch["cu_seq_lens_q"].tolist()
    spans = list(itertools.pairwise(ends))
    assert lengths.tolist() == [end - start for start, end in spans for _ in range(start, end)]
    embedding = one.model.get_input_embeddings()
    one.compute_loss(one.model, dict(batch))
    noise = embedding(batch["input_ids"]) - embedding.weight[batch["input_ids"]]
    for start, end in spans:
        bound = 5.0 / math.sqrt((end - start) * embedding.weight.shape[1])
        largest = noise[0, start:end].abs().max().item()
        assert 0.9 * bound < largest <= bound * 1.0001
    one.model.eval()
    assert torch.equal(embedding(batch["input_ids"]), embedding.weight[batch["input_ids"]])


def test_lengths_of_padded_rows_leave_the_padding_out():
    mask = torch.tensor([[1, 1, 1], [0, 1, 1]])
    assert conversation_lengths({"attention_mask": mask}).tolist() == [[3.0] * 3, [2.0] * 3]


def test_a_job_leaves_word_of_how_far_it_is(train, tmp_path, monkeypatch):
    place = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(place))
    facts, _ = train("told")
    assert read_note(place)["text"].startswith(f"step {facts['steps']}/{facts['steps']}: ")

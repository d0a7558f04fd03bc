"""When processes share a model out: asked to, or because it does not fit one GPU."""

import pytest
from safetensors.torch import load_file

from scripts.lib.train import sharding
from scripts.lib.train.full_tuning import FullTuning
from scripts.lib.train.lora_tuning import LoraTuning
from scripts.lib.train.sharding import is_sharded
from tests.unit.train.test_full_tuning import make_spec as full_spec
from tests.unit.train.test_training import make_spec as lora_spec


@pytest.fixture
def cards(monkeypatch):
    """Return the function that makes up GPUs: how many processes there are, and their memory."""

    def have(count, memory):
        monkeypatch.setattr(sharding, "can_shard", lambda: True)
        monkeypatch.setattr(sharding, "world_size", lambda: count)
        monkeypatch.setattr(sharding, "card_bytes", lambda: memory)

    return have


def full(**loop):
    return FullTuning(full_spec(**loop))


def lora(**spec):
    return LoraTuning(lora_spec(**spec))


@pytest.mark.parametrize(
    ("tuning", "bytes_of_each"),
    [
        # In bfloat16 a base that is frozen; all of it in float32, with copies, gradients, moments.
        (lora(dtype="bfloat16"), 2),
        (lora(dtype="float32"), 4),
        (full(dtype="float32"), 4 + 4 + 8),
        (full(dtype="bfloat16"), 4 + 2 + 4 + 8),
        (full(dtype="float32", optim="adafactor"), 4 + 4),
    ],
)
def test_what_stays_on_a_gpu_decides_whether_a_model_is_shared_out(
    cards, model, capsys, tuning, bytes_of_each
):
    numbers = sum(weight.numel() for weight in load_file(model / "model.safetensors").values())
    needed = numbers * bytes_of_each
    assert tuning.kept_bytes(model) == needed
    cards(2, memory=needed / 0.8 + 8)
    assert not is_sharded(False, tuning.kept_bytes(model))
    assert is_sharded(True, tuning.kept_bytes(model))
    cards(2, memory=needed / 0.8 - 8)
    assert is_sharded(False, tuning.kept_bytes(model))
    assert "shared out among the processes (FSDP2)" in capsys.readouterr().err
    cards(1, memory=needed / 2)
    assert not is_sharded(True, tuning.kept_bytes(model)), "one process has nobody to share with"


def test_the_smallest_card_decides_for_all_processes(cards, model, monkeypatch):
    needed = lora().kept_bytes(model)
    cards(2, memory=2 * needed)
    assert not is_sharded(False, needed)
    monkeypatch.setattr(sharding, "gather_object", lambda own: [*own, needed])
    assert is_sharded(False, needed)


def test_a_quantised_base_is_not_shared_out_unless_that_is_asked_for(cards, model):
    """It takes less than its files do, and could not be shared out: training refuses it."""
    cards(2, memory=1)
    assert not is_sharded(False, lora(quantization="nf4").kept_bytes(model))

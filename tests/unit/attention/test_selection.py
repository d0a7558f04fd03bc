"""Properties of the look at a GPU's kernels before rows are packed."""

import math

import pytest
import torch
from transformers import AutoConfig

from scripts.lib.attention import selection
from scripts.lib.attention.kernels import GpuKernels, ProcessorKernels
from scripts.lib.attention.selection import KERNELS, fault_of, kernels_for
from tests.unit import gpu_attention
from tests.unit.gpu_attention import gpu_kernels

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SHAPE = (4, 2, 16)


def config():
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    return AutoConfig.for_model("llama", **sizes)


def fault(kernels, dtype=torch.bfloat16):
    return fault_of(kernels, CPU, dtype, SHAPE, gradients=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_that_are_right_have_no_fault(dtype):
    assert fault(gpu_kernels(), dtype) is None
    assert fault(ProcessorKernels(), dtype) is None


def changed(change):
    """Return kernels whose varlen_attn gives something else."""

    def varlen(*given, **told):
        return change(*gpu_attention.varlen_attn(*given, **told))

    return gpu_kernels(varlen=varlen)


def unscaled(*given, **told):
    return gpu_attention.varlen_attn(*given, **(told | {"scale": 1.0}))


def leaking(query, key, value, ends, _, *longest, **told):
    """One segment instead of several."""
    whole = ends[[0, -1]]
    return gpu_attention.varlen_attn(query, key, value, whole, whole, *[len(query)] * 2, **told)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(_, given):
        return given.clone()

    @staticmethod
    def backward(_, gradient):
        return 2 * gradient


def other_cards(*_, **__):
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nAt ...")


WRONG = {
    "logarithms to base 2": (changed(lambda out, sums: (out, sums / math.log(2))), "sums"),
    "tokens first": (changed(lambda out, sums: (out, sums.T)), "sums"),
    "with a width": (changed(lambda out, sums: (out, sums[..., None])), "sums"),
    "no number": (changed(lambda out, sums: (out * math.nan, sums)), "outputs"),
    "another scale": (gpu_kernels(varlen=unscaled), "outputs"),
    "other sequences": (gpu_kernels(varlen=leaking), "outputs"),
    "wrong gradients": (
        changed(lambda out, sums: (_Doubled.apply(out), sums)),
        "gradients of queries",
    ),
    "sums of a prefix": (
        gpu_kernels(
            flash=lambda *g, **t: (gpu_attention.flash(*g, **t)[0], torch.zeros(1, 2, 318))
        ),
        "outputs after a prefix",
    ),
    "another card": (gpu_kernels(varlen=other_cards), "supports Ampere GPUs or newer."),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_kernel_that_is_wrong_is_found_out(name):
    kernels, named = WRONG[name]
    assert named in fault(kernels)


def test_a_fault_is_said_and_no_row_is_packed(monkeypatch, capsys):
    monkeypatch.setitem(KERNELS, "cuda", gpu_kernels(varlen=other_cards))
    monkeypatch.setattr(selection, "fault_of", lambda *_, **__: "cannot compute: Ampere")
    assert kernels_for(config(), CUDA, torch.bfloat16, gradients=False) is None
    said = capsys.readouterr().err
    assert "rows are not packed: stand-in on this device cannot compute: Ampere" in said


def test_on_a_gpu_float32_is_left_to_the_models_own_attention(monkeypatch):
    monkeypatch.setattr(selection, "fault_of", lambda *_, **__: None)
    for dtype in (torch.float16, torch.bfloat16):
        assert isinstance(kernels_for(config(), CUDA, dtype, gradients=False), GpuKernels)
    assert kernels_for(config(), CUDA, torch.float32, gradients=False) is None
    assert kernels_for(config(), torch.device("mps"), torch.bfloat16, gradients=False) is None


def test_a_processor_packs_in_every_precision():
    for dtype in (torch.float32, torch.bfloat16):
        assert kernels_for(config(), CPU, dtype, gradients=True) == ProcessorKernels()


def test_the_look_has_the_models_own_shape(monkeypatch):
    seen = []
    monkeypatch.setattr(selection, "fault_of", lambda *given, **told: seen.append((given, told)))
    kernels_for(config(), CUDA, torch.bfloat16, gradients=True)
    assert seen == [((KERNELS["cuda"], CUDA, torch.bfloat16, SHAPE), {"gradients": True})]


def test_the_look_draws_no_random_number():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fault_of.cache_clear()
    fault(gpu_kernels())
    assert torch.equal(torch.get_rng_state(), before)

"""Properties of the kernels: they attend as plain attention does, and are called as it is made."""

import inspect

import pytest
import torch
from torch.nn.attention import SDPBackend, varlen
from torch.nn.attention.varlen import AuxRequest

from scripts.lib.attention.kernels import GpuKernels, ProcessorKernels, Segments, after
from tests.unit import gpu_attention
from tests.unit.gpu_attention import gpu_kernels, strict_kernels

LENGTHS = [5, 1, 9, 3]
KERNELS = {"processor": ProcessorKernels(), "gpu": gpu_kernels()}


def drawn(heads, key_heads, *, dtype=torch.float32, prefix=7, width=8):
    torch.manual_seed(0)
    tokens = sum(LENGTHS)
    sizes = [(heads, tokens), *[(key_heads, tokens)] * 2, *[(key_heads, prefix)] * 2]
    query, key, value, *past = (torch.randn(1, *size, width).to(dtype) for size in sizes)
    return (query, key, value), tuple(past)


def alone(given, past, scale):
    """Attend by a mask, one sequence after the other."""
    groups = given[0].shape[1] // given[1].shape[1]
    outputs = []
    for parts in zip(*(tensor.split(LENGTHS, 2) for tensor in given), strict=True):
        query, key, value = parts
        if past:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool)
        mask = mask.tril(key.shape[2] - query.shape[2])
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, scale=scale
            )
        )
    return torch.cat(outputs, 2)


@pytest.mark.parametrize("scale", [None, 0.1])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("name", KERNELS)
def test_a_segment_attends_to_itself_and_to_the_prefix_alone(name, heads, scale):
    given, past = drawn(*heads)
    segments = Segments.of(LENGTHS, torch.device("cpu"))
    for before in (None, past):
        found = after(KERNELS[name], *given, segments, scale, before)
        torch.testing.assert_close(found, alone(given, before, scale), atol=1e-6, rtol=1e-5)
    trained = KERNELS[name].within(*given, segments, scale, 0.0)
    torch.testing.assert_close(trained, alone(given, None, scale), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_those_of_each_segment_alone(name):
    found = []
    for attend in (
        lambda *qkv: KERNELS[name].within(*qkv, Segments.of(LENGTHS, qkv[0].device), None, 0.0),
        lambda *qkv: alone(qkv, None, None),
    ):
        given = [tensor.requires_grad_() for tensor in drawn(4, 2)[0]]
        (attend(*given) * torch.linspace(-1, 1, 8)).sum().backward()
        found.append([tensor.grad for tensor in given])
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-5)


def test_both_kinds_of_kernels_give_the_same_sums():
    given, _ = drawn(4, 2)
    segments = Segments.of(LENGTHS, torch.device("cpu"))
    ours, theirs = (
        kernels.within_with_sums(*given, segments, None) for kernels in KERNELS.values()
    )
    assert ours[1].shape == (1, 4, sum(LENGTHS))
    torch.testing.assert_close(ours, theirs)


def test_lengths_that_were_not_told_are_read_from_the_ends():
    told = Segments.of(LENGTHS, torch.device("cpu"))
    assert list(Segments(told.ends, told.longest).lengths) == list(told.lengths) == LENGTHS


def test_a_gpu_casts_as_autocast_casts_pytorchs_other_attentions():
    given, _ = drawn(4, 2)
    segments = Segments.of(LENGTHS, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        found = strict_kernels().within(*given, segments, None, 0.0)
        stock = torch.nn.functional.scaled_dot_product_attention(*given, enable_gqa=True)
    assert found.dtype == stock.dtype == torch.bfloat16
    # Queries and keys that norms or positions brought back to float32.
    mixed = (*given[:2], given[2].bfloat16())
    assert strict_kernels().within(*mixed, segments, None, 0.0).dtype == torch.bfloat16


def test_a_kernel_without_dropout_refuses_it():
    given, _ = drawn(4, 2)
    with pytest.raises(ValueError, match=r"dropout of 0\.1"):
        gpu_kernels().within(*given, Segments.of(LENGTHS, torch.device("cpu")), None, 0.1)


def test_pytorchs_kernel_is_called_as_it_is_made():
    ours = inspect.signature(gpu_attention.varlen_attn).parameters
    theirs = inspect.signature(varlen.varlen_attn).parameters
    assert [(p.name, p.kind, p.default) for p in theirs.values()] == [
        (p.name, p.kind, p.default) for p in ours.values() if p.name != "dtypes"
    ]
    assert AuxRequest(lse=True).lse
    schema = torch.ops.aten._scaled_dot_product_flash_attention.default._schema
    assert [argument.name for argument in schema.arguments] == [
        name for name in inspect.signature(gpu_attention.flash).parameters if name != "dtypes"
    ]
    assert [result.name for result in schema.returns][:2] == ["output", "logsumexp"]


def test_flash_is_taken_where_pytorch_would_take_cudnn(monkeypatch):
    """On Hopper and later cuDNN is eligible; here that is only said."""
    monkeypatch.setattr(varlen, "_cudnn_rejection_reasons", lambda *_: [])
    choose, chosen = varlen._select_backend, []

    def note(*given):
        chosen.append(choose(*given))
        raise RuntimeError("chosen")

    monkeypatch.setattr(varlen, "_select_backend", note)
    (query, key, value), _ = drawn(4, 2, dtype=torch.bfloat16)
    segments = Segments.of(LENGTHS, query.device)
    flat = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    ends = (segments.ends, segments.ends, segments.longest, segments.longest)
    with pytest.raises(RuntimeError, match="chosen"):
        varlen.varlen_attn(*flat, *ends, enable_gqa=True, window_size=(-1, 0))
    with pytest.raises(RuntimeError, match="chosen"):
        GpuKernels().within_with_sums(query, key, value, segments, None)
    assert chosen == [SDPBackend.CUDNN_ATTENTION.value, SDPBackend.FLASH_ATTENTION.value]


def test_what_is_enabled_for_other_attentions_stays_so():
    before = [torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()]
    given, _ = drawn(4, 2)
    gpu_kernels().within(*given, Segments.of(LENGTHS, torch.device("cpu")), None, 0.0)
    after_it = [torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()]
    assert before == after_it == [True, True]

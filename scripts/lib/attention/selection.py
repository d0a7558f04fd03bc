"""Which kernels attend to rows of several sequences on a device, after a look at what they give."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any

import torch

from scripts.lib.attention.kernels import (
    HALVES,
    GpuKernels,
    Kernels,
    ProcessorKernels,
    Segments,
    after,
)

KERNELS: Mapping[str, Kernels] = {"cpu": ProcessorKernels(), "cuda": GpuKernels()}
"""Kind of device -> its kernels."""

# What a small row shows: segments of one token, of several and of more than a tile of the kernel.
_LENGTHS, _PREFIX = (5, 1, 150, 3), 70

# Largest differences from attention in float32, for numbers of a normal distribution. Rounding of
# bfloat16 stays below 0.02, and logarithms are in float32; other bases, scales, orders or shapes
# are further off than 0.3.
_MOST, _MOST_SUMS = 0.06, 0.02


def kernels_for(
    config: Any, device: torch.device, dtype: torch.dtype, *, gradients: bool
) -> Kernels | None:
    """Return what attends to packed rows of a model, or None where its own attention must.

    Of a GPU a small row is computed first and held against plain attention. Where it differs, as
    with another version of a library or on a card that the kernel is not made for, that is said on
    stderr, and no row is packed.

    Args:
        config: The model's, whose family is of the table (`attention.families`).
        device: Where it computes.
        dtype: What it computes in.
        gradients: Whether it is trained.
    """
    kernels = KERNELS.get(device.type)
    if kernels is None or device.type == "cpu":
        return kernels
    if dtype not in HALVES:
        return None
    text = config.get_text_config(decoder=True)
    heads = text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    width = max(width, getattr(text, "global_head_dim", None) or 0)  # of full layers, in Gemma 4
    if fault := fault_of(kernels, device, dtype, (heads, key_heads, width), gradients=gradients):
        print(f"rows are not packed: {kernels.name} on this device {fault}", file=sys.stderr)
        return None
    return kernels


@cache
def fault_of(
    kernels: Kernels,
    device: torch.device,
    dtype: torch.dtype,
    shape: tuple[int, int, int],
    *,
    gradients: bool,
) -> str | None:
    """Return what is wrong with kernels, found with a small row; None where nothing is.

    Args:
        kernels: To be looked at.
        device: Where.
        dtype: Of queries, keys and values.
        shape: Heads, key heads, and their width.
        gradients: Whether gradients are looked at, too.
    """
    heads, key_heads, width = shape
    draw = torch.Generator().manual_seed(0)  # the same everywhere, and no other numbers are used up
    sizes = [(heads, sum(_LENGTHS)), *[(key_heads, sum(_LENGTHS))] * 2, *[(key_heads, _PREFIX)] * 2]
    query, key, value, *prefix = (
        torch.randn(1, *size, width, generator=draw).to(device, dtype) for size in sizes
    )
    segments = Segments.of(_LENGTHS, device)
    measures = _measures(kernels, (query, key, value), segments, (prefix[0], prefix[1]))
    if gradients:
        measures = chain(measures, _gradient_measures(kernels, (query, key, value), segments))
    try:
        for name, difference, most in measures:
            if not difference <= most:  # what is no number is wrong, too
                return f"differs from plain attention in its {name} by {difference:.2g}"
    except RuntimeError as error:
        return f"cannot compute: {str(error).splitlines()[0]}"
    return None


def _measures(
    kernels: Kernels, given: tuple[Any, Any, Any], segments: Segments, prefix: tuple[Any, Any]
) -> Iterator[tuple[str, float, float]]:
    """Yield a name, how far that is off, and how far it may be."""
    with torch.no_grad():
        outputs, sums = _plain(*given, segments, None)
        own, own_sums = kernels.within_with_sums(*given, segments, None)
    yield "outputs", _difference(own, outputs), _MOST
    yield "sums", _difference(own_sums, sums), _MOST_SUMS
    with torch.no_grad():
        merged, _ = _plain(*given, segments, prefix)
        found = after(kernels, *given, segments, None, prefix)
    yield "outputs after a prefix", _difference(found, merged), _MOST


def _gradient_measures(
    kernels: Kernels, given: tuple[Any, Any, Any], segments: Segments
) -> Iterator[tuple[str, float, float]]:
    """Yield the same of gradients, of the largest of each."""
    ours, plain = (
        _gradients(given, attend)
        for attend in (
            lambda query, key, value: kernels.within(query, key, value, segments, None, 0.0),
            lambda query, key, value: _plain(query, key, value, segments, None)[0],
        )
    )
    for name, one, right in zip(("queries", "keys", "values"), ours, plain, strict=True):
        yield f"gradients of {name}", _difference(one, right) / float(right.abs().max()), _MOST


def _gradients(given: tuple[Any, Any, Any], attend: Callable[[Any, Any, Any], Any]) -> list[Any]:
    """Return the gradients of queries, keys and values, float32."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in given]
    with torch.enable_grad():
        out = attend(*leaves).float()
        (out * torch.linspace(-1, 1, out.shape[-1], device=out.device)).sum().backward()
    return [leaf.grad.float() for leaf in leaves]


def _difference(found: Any, right: Any) -> float:
    """Return the largest difference; without bound where shapes differ."""
    if found.shape != right.shape:
        return math.inf
    return float((found.float() - right).abs().max())


def _plain(
    query: Any, key: Any, value: Any, segments: Segments, prefix: tuple[Any, Any] | None
) -> tuple[Any, Any]:
    """Attend in float32 behind a mask; return outputs and logarithms of the sums."""
    number = torch.repeat_interleave(segments.ends.diff())
    seen = (number[:, None] == number).tril()
    if prefix is not None:
        key, value = (
            torch.cat([past, own], 2) for past, own in zip(prefix, (key, value), strict=True)
        )
        seen = torch.cat([seen.new_ones(len(seen), prefix[0].shape[2]), seen], 1)
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.float().repeat_interleave(groups, 1) for tensor in (key, value))
    scores = query.float() @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
    scores = scores.masked_fill(~seen, -math.inf)
    return scores.softmax(-1) @ value, scores.logsumexp(-1)

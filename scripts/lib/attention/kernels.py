"""Kernels of softmax attention for rows that hold several sequences: on processors and on GPUs.

A segment is one sequence of a row. `within` attends causally in each of them, and `after` to a
prefix that all of them share as well. The latter is two attentions, merged by the logarithms of
their sums of exponentials, which is exact: softmax over a union is the mean of the softmaxes over
its parts, weighted by those sums. No mask is built, and nothing of a prefix is copied.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import AuxRequest, varlen_attn

HALVES = (torch.float16, torch.bfloat16)
"""What flash attention on GPUs computes in."""

_CAUSAL = (-1, 0)  # how far back, and forth; -1 for no bound


@dataclass(frozen=True)
class Segments:
    """Where the segments of a row lie.

    Attributes:
        ends: Where they begin, and where the last one ends: (segments + 1,), int32, on the device.
        longest: Tokens of the longest one.
        known: Tokens of each, where that was told.
    """

    ends: torch.Tensor
    longest: int
    known: tuple[int, ...] = ()

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Segments":
        """Return segments of so many tokens each."""
        ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(ends.to(device), max(lengths), tuple(lengths))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each; where it was not told, asking a GPU waits for it."""
        return self.known or tuple(self.ends.diff().tolist())


class Kernels(Protocol):
    """How a kind of device attends.

    Queries are (1, heads, tokens, width), keys and values (1, key heads, tokens, width), where
    several heads in a row share one key head. What comes back has the queries' shape; logarithms of
    sums of exponentials are (1, heads, tokens), float32, in nats, of scaled scores. A scale of None
    means 1 / sqrt(width).
    """

    @property
    def name(self) -> str:
        """What it is called where a job's execution is stated."""
        ...

    def __hash__(self) -> int: ...

    def within(
        self, query: Any, key: Any, value: Any, segments: Segments, scale: float | None, drop: float
    ) -> Any:
        """Attend causally within each segment; for training.

        Args:
            query: See above.
            key: See above.
            value: See above.
            segments: Of the row.
            scale: Factor of the scores.
            drop: Probability to drop a score.
        """
        ...

    def within_with_sums(
        self, query: Any, key: Any, value: Any, segments: Segments, scale: float | None
    ) -> tuple[Any, Any]:
        """Attend causally within each segment; also return the logarithms of the sums."""
        ...

    def over(self, query: Any, key: Any, value: Any, scale: float | None) -> tuple[Any, Any]:
        """Attend to all keys, as many heads as of queries; also return the logarithms."""
        ...


def after(
    kernels: Kernels,
    query: Any,
    key: Any,
    value: Any,
    segments: Segments,
    scale: float | None,
    prefix: tuple[Any, Any] | None,
) -> Any:
    """Attend causally within each segment, and to a prefix that all of them go on from.

    Args:
        kernels: Of the device.
        query: (1, heads, tokens, width).
        key: (1, key heads, tokens, width).
        value: As *key*.
        segments: Of the row.
        scale: Factor of the scores; None for 1 / sqrt(width).
        prefix: Keys and values of the prefix, (1, key heads, tokens of it, width), or None.

    Returns:
        (1, heads, tokens, width).
    """
    own, own_sums = kernels.within_with_sums(query, key, value, segments, scale)
    if prefix is None:
        return own
    # Without a mask the queries of a group's heads are just more queries of one head.
    folded = query.reshape(1, key.shape[1], -1, query.shape[-1])
    past, past_sums = kernels.over(folded, *prefix, scale)
    weight = torch.sigmoid(past_sums.reshape(own_sums.shape) - own_sums).unsqueeze(-1)
    return torch.lerp(own, past.reshape(own.shape), weight.to(own.dtype))


@dataclass(frozen=True)
class ProcessorKernels:
    """PyTorch's flash attention for processors, segment by segment."""

    name: str = "flash attention for processors"

    def within(
        self, query: Any, key: Any, value: Any, segments: Segments, scale: float | None, drop: float
    ) -> Any:
        """See `Kernels`."""
        groups = query.shape[1] // key.shape[1]
        if groups > 1:  # measured: faster with gradients than letting the kernel share the heads
            key = key.repeat_interleave(groups, dim=1)
            value = value.repeat_interleave(groups, dim=1)
        parts = [
            functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=scale, dropout_p=drop
            )
            for q, k, v in _split(query, key, value, segments)
        ]
        return torch.cat(parts, dim=2)

    def within_with_sums(
        self, query: Any, key: Any, value: Any, segments: Segments, scale: float | None
    ) -> tuple[Any, Any]:
        """See `Kernels`."""
        parts = [
            self._flash(q, k, v, scale, causal=True)
            for q, k, v in _split(query, key, value, segments)
        ]
        return torch.cat([out for out, _ in parts], dim=2), torch.cat([s for _, s in parts], dim=2)

    def over(self, query: Any, key: Any, value: Any, scale: float | None) -> tuple[Any, Any]:
        """See `Kernels`."""
        return self._flash(query, key, value, scale, causal=False)

    def _flash(
        self, query: Any, key: Any, value: Any, scale: float | None, *, causal: bool
    ) -> tuple[Any, Any]:
        out, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, scale=scale
        )
        return out, sums


def _split(query: Any, key: Any, value: Any, segments: Segments) -> Any:
    """Return queries, keys and values segment by segment."""
    lengths = segments.lengths
    return zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)


@dataclass(frozen=True)
class GpuKernels:
    """PyTorch's flash attention for GPUs, all segments at once, in float16 or bfloat16.

    Where PyTorch would rather take cuDNN's, flash is taken all the same: what its logarithms of
    sums are and how they lie in memory is known, and a score does not depend on the card.

    Attributes:
        varlen: PyTorch's `varlen_attn`.
        flash: Its `_scaled_dot_product_flash_attention`.
        name: See `Kernels`.
    """

    varlen: Callable[..., Any] = varlen_attn
    flash: Callable[..., Any] = torch.ops.aten._scaled_dot_product_flash_attention
    name: str = "flash attention for GPUs (varlen_attn)"

    def within(
        self, query: Any, key: Any, value: Any, segments: Segments, scale: float | None, drop: float
    ) -> Any:
        """See `Kernels`.

        Raises:
            ValueError: If scores are to be dropped, which this kernel cannot do.
        """
        if drop:
            raise ValueError(f"attention with a dropout of {drop} was given to a kernel without")
        # Autocast knows PyTorch's other attentions, and not this one.
        kind = query.device.type
        cast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if cast else value.dtype
        query, key, value = (tensor.to(dtype) for tensor in (query, key, value))
        return self.within_with_sums(query, key, value, segments, scale)[0]

    def within_with_sums(
        self, query: Any, key: Any, value: Any, segments: Segments, scale: float | None
    ) -> tuple[Any, Any]:
        """See `Kernels`."""
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            out, sums = self.varlen(
                *(tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value)),
                segments.ends,
                segments.ends,
                segments.longest,
                segments.longest,
                return_aux=AuxRequest(lse=True),
                scale=scale,
                window_size=_CAUSAL,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        return out.transpose(0, 1)[None], sums[None]

    def over(self, query: Any, key: Any, value: Any, scale: float | None) -> tuple[Any, Any]:
        """See `Kernels`."""
        out, sums = self.flash(query, key, value, 0.0, False, False, scale=scale)[:2]
        return out, sums

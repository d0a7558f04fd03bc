"""Matrix products of bfloat16 on a processor that has no arithmetic for it.

PyTorch takes such numbers one by one there, and needs 6 to 30 times as long as in float32. Here a
product is computed in float32 and rounded once. Products of two numbers of bfloat16 are exact in
float32, and arithmetic for bfloat16 adds them up in float32, too: only the order of the additions
differs, as it does between any two processors. Everything else stays in bfloat16.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from scripts.lib.machine.device import computes_bfloat16

# Of fewer rows PyTorch's own way is the faster one: weights are converted anew for each product.
# Measured with one thread of an AMD EPYC with AVX2, a weight of 1,536 x 576, PyTorch 2.15: of 1 row
# 10 times, of 4 rows 1.4 times as fast; of 16 rows half as fast, of 1,024 a seventh.
FEWEST_ROWS = 8

# Numbers of a weight that are held in float32 at once: 64 MiB, whatever the vocabulary.
BLOCK = 2**24

# The fused attention of processors is not among them: it converts its blocks itself.
PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.linear,
        torch.bmm,
        torch.matmul,
        torch.mm,
        torch.Tensor.__matmul__,
        torch.Tensor.bmm,
        torch.Tensor.matmul,
        torch.Tensor.mm,
    }
)

# Their first argument is what is added to the product: the layers of GPT-2 and its kin.
SUMS: frozenset[Callable[..., Any]] = frozenset(
    {torch.addmm, torch.baddbmm, torch.Tensor.addmm, torch.Tensor.baddbmm}
)

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Float32Products(TorchFunctionMode):  # type: ignore[misc]  # torch gives it no types
    """Computes products of bfloat16 in float32 and rounds what comes out."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call *func*, on float32 where it is a product of bfloat16 of many rows."""
        named = kwargs or {}
        taken = func in PRODUCTS or func in SUMS
        if not taken or "out" in named or not _is_large(args[func in SUMS :]):
            return func(*args, **named)
        if func is functional.linear:
            return _linear(*args, **named)
        wide = func(*map(_widened, args), **{name: _widened(one) for name, one in named.items()})
        return wide.to(torch.bfloat16)


def products(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Return what a model of *dtype* is to be computed in on this device."""
    if dtype != torch.bfloat16 or computes_bfloat16():
        return nullcontext()
    return Float32Products()


def fast_products(method: _Method) -> _Method:
    """Decorate a method whose object has a `model`: that is computed as `products` says."""

    @functools.wraps(method)
    def within(self: Any, *args: Any, **named: Any) -> Any:
        with products(self.model.dtype):
            return method(self, *args, **named)

    return within  # type: ignore[return-value]  # the same arguments and result


def _linear(row: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
    """Return a linear layer's (..., outputs) for (..., inputs), some outputs after the others."""
    wide = row.float()
    found = row.new_empty(*row.shape[:-1], len(weight))
    size = max(1, BLOCK // weight.shape[1])
    for start in range(0, len(weight), size):
        own = slice(start, start + size)
        shift = None if bias is None else bias[own].float()
        found[..., own] = functional.linear(wide, weight[own].float(), shift)
    return found


def _is_large(args: Sequence[Any]) -> bool:
    first = args[0] if args else None
    return (
        isinstance(first, torch.Tensor)
        and first.dtype == torch.bfloat16
        and first.numel() >= FEWEST_ROWS * first.shape[-1]
    )


def _widened(one: Any) -> Any:
    return one.float() if isinstance(one, torch.Tensor) and one.dtype == torch.bfloat16 else one

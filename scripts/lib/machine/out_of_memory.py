"""What to do when memory runs out: the same again with less at once.

Training and scoring share this and nothing of what each of them takes for its first try.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

_Result = TypeVar("_Result")
_Size = TypeVar("_Size")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that memory ran out, so that less at once may do."""
    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def until_it_fits(
    attempt: Callable[[_Size], _Result],
    size: _Size,
    smaller: Callable[[_Size, str], _Size | None],
) -> tuple[_Result, _Size]:
    """Return what *attempt* gives with as much at once as memory holds, and how much that was.

    Args:
        attempt: Does the work with so much at once.
        size: How much to try first.
        smaller: Says how much to try after a size for which memory did not suffice, and what the
            error said in its first line; None where less is not possible. It may raise an error of
            its own, and may return the same size where it changed what that stands for.

    Raises:
        RuntimeError: Another error than of memory, or one of memory where less is not possible.
    """
    while True:
        try:
            return attempt(size), size
        except RuntimeError as error:
            less = smaller(size, first_line(error)) if is_out_of_memory(error) else None
            if less is None:
                raise
        # Only here is the error gone, and with it the tensors that filled the memory.
        clear_device_cache(garbage_collection=True)
        size = less


def first_line(error: RuntimeError) -> str:
    """Return what an error says in its first line, or its name where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)

"""The loop that does the same with less at once when memory runs out."""

import gc
import weakref

import pytest
import torch

from scripts.lib.machine.out_of_memory import is_out_of_memory, until_it_fits

NO_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes.\nmore"),
)


def half(size: int, _: str) -> int | None:
    return size // 2 or None


def fits(most: int, error: RuntimeError, tries: list[int]):
    """Return an attempt that works with so much at once."""

    def attempt(size: int) -> str:
        tries.append(size)
        if size > most:
            raise error
        return f"{size} at once"

    return attempt


@pytest.mark.parametrize("error", NO_MEMORY)
def test_less_is_tried_until_memory_suffices(error):
    tries: list[int] = []
    assert until_it_fits(fits(2, error, tries), 9, half) == ("2 at once", 2)
    assert tries == [9, 4, 2]


def test_what_fits_at_once_is_tried_once():
    tries: list[int] = []
    assert until_it_fits(fits(9, NO_MEMORY[0], tries), 9, half) == ("9 at once", 9)
    assert tries == [9]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_where_less_is_not_possible_the_error_is_told(error):
    tries: list[int] = []
    with pytest.raises(RuntimeError) as raised:
        until_it_fits(fits(0, error, tries), 4, half)
    assert raised.value is error
    assert tries == [4, 2, 1]


def test_an_error_that_is_not_about_memory_is_not_tried_again():
    tries: list[int] = []
    error = RuntimeError("shapes do not match")
    assert not is_out_of_memory(error)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        until_it_fits(fits(2, error, tries), 9, half)
    assert tries == [9]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NO_MEMORY[0], "CUDA out of memory. Tried to allocate 1 GiB."),
        (NO_MEMORY[1], "[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes."),
        (torch.OutOfMemoryError(), "OutOfMemoryError"),
    ],
)
def test_who_says_how_much_less_is_told_the_size_and_the_first_line(error, line):
    told = []

    def smaller(size: int, cause: str) -> int:
        told.append((size, cause))
        return 1

    until_it_fits(fits(1, error, []), 8, smaller)
    assert told == [(8, line)]


def test_an_error_of_who_says_how_much_less_goes_through():
    def refuse(size: int, cause: str) -> int:
        raise ValueError(f"{size} is little enough ({cause})")

    with pytest.raises(ValueError, match="4 is little enough"):
        until_it_fits(fits(1, NO_MEMORY[0], []), 4, refuse)


def test_what_filled_the_memory_is_gone_before_the_next_try():
    """Each frame of a traceback holds its variables."""
    left = []

    def attempt(size: int) -> int:
        gc.disable()  # only the loop itself collects
        if size > 1:
            batch = torch.ones(size)
            left.append(weakref.ref(batch))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return sum(found() is not None for found in left)

    try:
        assert until_it_fits(attempt, 4, half) == (0, 1)
    finally:
        gc.enable()
    assert len(left) == 2

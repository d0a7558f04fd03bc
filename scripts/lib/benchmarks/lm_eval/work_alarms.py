"""Alarms that ring after an amount of work instead of a time on the clock.

Some tasks compare answers as mathematics (lm-eval's minerva_math, math-verify), give up after some
seconds of `signal.alarm`, and count the answer as wrong: on a busy machine also a right one. Here
such an alarm counts calls of functions, so that a judgement is the same whatever else the machine
does, and almost always the same on another machine.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CALLS_PER_SECOND = 8_000_000
"""Calls and returns that stand for a second: what sympy makes in one on an idle AMD EPYC core."""

PROCESSOR_SECONDS = 6
"""Processor time for each second of an alarm after which it rings whatever was counted. Only work
that calls nothing comes to that: arithmetic on numbers of a million digits."""


@dataclass
class Rings:
    """How often an alarm rang."""

    count: int = 0


@contextmanager
def alarms_by_work(
    calls_per_second: int = CALLS_PER_SECOND, processor_seconds: float = PROCESSOR_SECONDS
) -> Iterator[Rings]:
    """Let `signal.alarm` measure work meanwhile.

    What sympy remembers is forgotten first, and its random numbers start anew: what was judged
    before changes nothing.

    Args:
        calls_per_second: Calls and returns of functions for a second of an alarm.
        processor_seconds: Processor time for a second of an alarm, for work without calls.

    Yields:
        How often an alarm rang.
    """
    _forget()
    rings = Rings()
    before = signal.alarm
    signal.alarm = _alarm(rings, calls_per_second, processor_seconds)
    try:
        yield rings
    finally:
        signal.alarm(0)
        signal.alarm = before


def _alarm(rings: Rings, calls_per_second: int, processor_seconds: float) -> Callable[[int], int]:
    """Return what stands for `signal.alarm`."""
    left = 0

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            ring()

    def ring(*_: Any) -> None:
        sys.setprofile(None)
        rings.count += 1
        signal.raise_signal(signal.SIGALRM)

    def alarm(seconds: int) -> int:
        nonlocal left
        sys.setprofile(None)
        limit = seconds * processor_seconds
        if seconds:
            signal.signal(signal.SIGVTALRM, ring)
            left = seconds * calls_per_second
        # Again and again: code between may take the error that the first one raises for its own.
        signal.setitimer(signal.ITIMER_VIRTUAL, limit, limit)
        if seconds:
            sys.setprofile(count)
        return 0

    return alarm


def _forget() -> None:
    if "sympy" in sys.modules:
        import sympy.core.cache
        import sympy.core.random

        sympy.core.cache.clear_cache()
        sympy.core.random.seed(0)

"""How far a job is, left where others can read it: a file that the job's environment names.

A job's log has a line now and then; this is the last of them, for whoever watches many jobs.
Without the variable nothing is written.
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from scripts.lib.files import read_json, write_json

VARIABLE = "TUNESMITH_PROGRESS"
"""Names the file of this job."""

LOG_SECONDS = 60.0
"""Between two lines that `Count` adds to a job's log."""

_LEAST_SECONDS = 5.0
_written: dict[str, float] = {}


def note(text: str, *, left_seconds: float | None = None, last: bool = False) -> None:
    """Leave word of how far this job is; at most every few seconds, and never in the job's way.

    Args:
        text: What is done, of how much, in words.
        left_seconds: How long the rest will take; None where that is not known.
        last: Whether nothing more will be said.
    """
    place = os.environ.get(VARIABLE)
    now = time.monotonic()
    if not place or (not last and now - _written.get(place, -_LEAST_SECONDS) < _LEAST_SECONDS):
        return
    _written[place] = now
    with contextlib.suppress(OSError):  # a full disk ends the job where it matters
        write_json(Path(place), {"text": text, "left_seconds": left_seconds, "time": time.time()})


class Count:
    """How many of many things are done: word of it for others, and a line a minute in the log.

        count = Count("conversations rendered", total=14_042)
        count.add(256)

    A job that is over within a minute adds nothing to its log.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        """Start the clock.

        Args:
            what: What is counted and done, as it stands behind a number.
            total: How many there are; None where only the end tells.
        """
        self._what, self._total = what, total
        self._done = 0
        self._began = self._said = time.monotonic()

    def add(self, more: int) -> None:
        """Count things that are done."""
        self._done += more
        now = time.monotonic()
        text, left = self._words(now - self._began)
        note(text, left_seconds=left, last=self._done == self._total)
        if now - self._said >= LOG_SECONDS:
            self._said = now
            print(text, file=sys.stderr, flush=True)

    def _words(self, seconds: float) -> tuple[str, float | None]:
        """Return how far it is after so many seconds, and the seconds that are left."""
        rate = self._done / max(seconds, 1e-9)
        if self._total is None or not self._done:
            return f"{self._done:,} {self._what}, {rate:,.0f}/s", None
        left = (self._total - self._done) / rate
        of = f"{self._done:,} of {self._total:,} {self._what}"
        return f"{of}, about {left / 60:.1f} min left", left


def read_note(place: Path) -> dict[str, Any] | None:
    """Return what a job said last, with `time` in seconds since the epoch; None for no word."""
    try:
        found = read_json(place)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"text", "time"} <= found.keys() else None

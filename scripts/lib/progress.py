"""How far a job is, left where others can read it: a file that the job's environment names.

A job's log has a line now and then; this is the last of them, for whoever watches many jobs.
Without the variable nothing is written.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from scripts.lib.files import read_json, write_json

VARIABLE = "TUNESMITH_PROGRESS"
"""Names the file of this job."""

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


def read_note(place: Path) -> dict[str, Any] | None:
    """Return what a job said last, with `time` in seconds since the epoch; None for no word."""
    try:
        found = read_json(place)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"text", "time"} <= found.keys() else None

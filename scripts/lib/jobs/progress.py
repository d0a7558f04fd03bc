"""How far the jobs of a workflow are: what each leaves, repeated in the workflow's log.

    results/.progress/<stage>/<name>.json    what a running job said last (scripts/lib/progress.py)

A job that is done takes its file away; that of one that was killed stays, and grows old.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.progress import VARIABLE, read_note

FOLDER = ".progress"
REPEAT_SECONDS = 60.0
SILENT_SECONDS = 600.0
"""A job that said nothing for so long is told as such: it was killed, or does one long thing."""


@dataclass(frozen=True)
class Running:
    """What a job said last.

    Attributes:
        id: What it makes.
        text: How far it is.
        left_seconds: How long the rest will take, if it knows.
        said: When, in seconds since the epoch.
    """

    id: str
    text: str
    left_seconds: float | None
    said: float

    def words(self, now: float) -> str:
        """Return a line for people; *now* is in seconds since the epoch."""
        silent = now - self.said
        if silent > SILENT_SECONDS:
            return f"{self.id}: {self.text}; nothing since {silent / 60:.0f} min"
        return f"{self.id}: {self.text}"


@contextmanager
def progress_file(results: Path, name: str) -> Iterator[None]:
    """Name the file of a job to what it does in the block, and take it away at the end."""
    place = results / FOLDER / f"{name}.json"
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(place.absolute())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def running(results: Path) -> list[Running]:
    """Return what the jobs of a results folder said last, the stages in order of their names."""
    found = []
    for place in sorted((results / FOLDER).glob("*/*.json")):
        if said := read_note(place):
            id = f"{place.parent.name}/{place.stem}"
            found.append(Running(id, said["text"], said.get("left_seconds"), said["time"]))
    return found


class Repeater:
    """Repeats what jobs say, a line a minute for each that said something new."""

    def __init__(
        self, results: Path, say: Callable[[str], None], seconds: float = REPEAT_SECONDS
    ) -> None:
        """Take note of where jobs leave word, and of whom to tell.

        Args:
            results: The results folder.
            say: Gets each line.
            seconds: Between two looks.
        """
        self._results, self._say, self._seconds = results, say, seconds
        self._ended = threading.Event()
        self._known = {one.id: one.said for one in running(results)}  # of jobs that were killed
        self._thread = threading.Thread(target=self._repeat, name="progress", daemon=True)

    def __enter__(self) -> "Repeater":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=self._seconds)

    def look(self) -> None:
        """Repeat what is new."""
        for one in running(self._results):
            if self._known.get(one.id) != one.said:
                self._known[one.id] = one.said
                self._say(one.words(time.time()))

    def _repeat(self) -> None:
        while not self._ended.wait(self._seconds):
            self.look()

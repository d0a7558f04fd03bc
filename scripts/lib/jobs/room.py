"""No room: what a full disk, a used-up quota or a limit on files means for a job, in one sentence.

Python says so by an errno; libraries that write by themselves say it in a text of their own or only
that a file could not be written to its end. Plumbing, as job.py is: it decides no byte of an
artifact.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.lib.errors import MergeError, RoomError

# errno -> what is the matter, and what helps.
_FULL: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("the file system is full", "Make room"),
    errno.EDQUOT: ("the quota is used up", "Make room within the quota, or have it raised"),
    errno.EFBIG: ("a file would be larger than the limit allows", "Raise the limit (ulimit -f)"),
}
# As the C library and Rust's put it; safetensors, tokenizers and Arrow pass it on as a text.
# "File too large" alone is also what a web server says of a request.
_TEXTS = {
    number: re.compile(
        rf"(?i:os error|errno):? {number}\b"
        + ("" if number == errno.EFBIG else f"|{re.escape(os.strerror(number))}")
    )
    for number in _FULL
}
# PyTorch's writer and `tempfile` tell that they could not write, not why.
_CUT_SHORT = re.compile(
    r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|iostream error"
    r"|No usable temporary directory"
)
_UNSAID = (
    "a file could not be written to its end, as when a disk is full",
    "Make room if there is little",
)
# Rule -> what a new start does not do again; all others begin anew.
_GOES_ON = {
    "train_adapter": "training goes on from its last checkpoint, if it has one",
    "score_benchmark": "scoring keeps finished subjects and goes on from its journal of answers",
    "judge_pairs": "judging goes on from its journal",
    "ask_judge": "judging goes on from the replies that it has",
}


class Lack(NamedTuple):
    """What could not be written.

    Attributes:
        reason: Why, in words.
        remedy: What helps.
        file: The file, where it is known.
    """

    reason: str
    remedy: str
    file: Path | None


def lack_of_room(error: BaseException) -> Lack | None:
    """Tell whether *error*, or what led to it, is that something could not be written."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno is not None and one.errno in _FULL:
            name = one.filename if isinstance(one.filename, str | os.PathLike) else None
            return Lack(*_FULL[one.errno], None if name is None else Path(name))
        for number, pattern in _TEXTS.items():
            if pattern.search(str(one)):
                return Lack(*_FULL[number], None)
        if _CUT_SHORT.search(str(one)):
            return Lack(*_UNSAID, None)
    return None


@contextmanager
def telling_of_room(rule: str, id: str, places: Sequence[Path]) -> Iterator[None]:
    """Say in one sentence that there was no room, where that ends the block.

    Args:
        rule: The rule whose job it is.
        id: The artifact that it makes.
        places: Where it writes.

    Raises:
        RoomError: in place of the error that the block ended in.
    """
    try:
        yield
    except (RoomError, MergeError):
        raise  # merging knows how much it needs, and says it
    except Exception as error:
        if words := room_words(rule, id, error, places):
            raise RoomError(words) from error
        raise


def room_words(rule: str, id: str, error: BaseException, places: Sequence[Path]) -> str | None:
    """Say that there was no room, where, how much is free and what to do; None if it was not that.

    Args:
        rule: The rule whose job failed.
        id: The artifact that it makes.
        error: What ended it.
        places: Where it writes.
    """
    if (lack := lack_of_room(error)) is None:
        return None
    free = _free([lack.file] if lack.file else places)
    what = f"{id} cannot be written: {lack.reason}" + (f" ({lack.file})" if lack.file else "")
    then = _GOES_ON.get(rule, "what is finished stays")
    return f"{what}. Free now: {free}. {lack.remedy}, then run again: {then}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _free(places: Sequence[Path]) -> str:
    """Say how much is free on the file systems of *places*, the fullest first."""
    by_device: dict[int, Path] = {}
    for place in places:
        there = place.absolute()
        while not there.exists():
            there = there.parent
        by_device.setdefault(there.stat().st_dev, there)
    found = sorted((shutil.disk_usage(place).free, str(place)) for place in by_device.values())
    return ", ".join(f"{_size(free)} at {place}" for free, place in found)


def _size(count: int) -> str:
    """Return a number of bytes in a unit that shows it."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"

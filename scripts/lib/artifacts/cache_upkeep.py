"""Tidying a shared cache while others read it and write to it.

`python -m scripts.tools.upkeep cache-gc` is the command. What it does is safe by two rules, without
a lock:

- An entry that was used within the *grace* stays. Its last use is the time of its folder, which
  readers set when they begin and again every few minutes (in_use.py), so a job that runs for days
  keeps its inputs. The time is looked at again after the entry was moved away; if a reader came in
  between, it is moved back.
- Nothing is deleted where it lies. An entry first gets a name that nobody looks for
  (`.trash-...`, one rename in the same folder), and is deleted by the first call after another
  grace. A file that is open then stays readable to its end, on a network file system too, and so
  do files of readers that cannot show their use, since they may only read the cache.

What killed writers left (`.part-*`), what was put into quarantine and index entries that lead
nowhere go after one grace. A writer is taken to be killed when nothing below its folder is younger
than that.

Only what has the form that a cache gives it is looked at, an entry by its manifest: a folder that
was named by mistake loses nothing.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.lib.artifacts.stages import STAGES

GRACE_SECONDS = 24 * 3600.0
"""A day: far longer than a reader's beat, and a night's queue."""

LEAST_GRACE_SECONDS = 3600.0
"""Below this a reader that a busy machine holds up could lose what it reads."""

Kind = Literal["entry", "trash", "quarantine", "leftover"]


@dataclass(frozen=True)
class Item:
    """One thing in a cache.

    Attributes:
        path: Where it lies.
        kind: An artifact's entry, one that was given up, one that was found bad, or what is left
            of a killed writer and in the index.
        bytes: The size of its files.
        freed_bytes: Of these, what deleting it gives back: files that no results/ folder links to.
        used: Seconds since the epoch of the last use; of the move for trash and quarantine.
    """

    path: Path
    kind: Kind
    bytes: int
    freed_bytes: int
    used: float


def items(cache: Path) -> Iterator[Item]:
    """Yield what lies in *cache*; what vanishes meanwhile is left out."""
    for path, kind in _places(cache):
        with contextlib.suppress(FileNotFoundError):
            size, freed, newest = _measure(path)
            used = newest if kind == "leftover" else path.stat().st_mtime
            yield Item(path, kind, size, freed, used)


def choose(
    found: Sequence[Item],
    now: float,
    *,
    older_than: float | None = None,
    larger_than: int | None = None,
    keep: int | None = None,
    grace: float = GRACE_SECONDS,
) -> list[Item]:
    """Return the entries to give up, the longest unused first.

    Args:
        found: What lies in the cache.
        now: Seconds since the epoch.
        older_than: Only those unused for so many seconds.
        larger_than: Only those of more bytes.
        keep: Only as many as it takes for the rest to have at most so many bytes.
        grace: Never those used within so many seconds.

    Returns:
        Nothing when none of the three wishes is given.
    """
    entries = sorted((item for item in found if item.kind == "entry"), key=lambda item: item.used)
    chosen = [
        item
        for item in entries
        if item.used < now - max(grace, older_than or 0) and item.bytes > (larger_than or -1)
    ]
    if keep is not None:
        left, needed = sum(item.bytes for item in entries), []
        for item in chosen:
            if left > keep:
                needed.append(item)
                left -= item.bytes
        return needed
    return chosen if older_than is not None or larger_than is not None else []


def passing(found: Sequence[Item], now: float, grace: float = GRACE_SECONDS) -> list[Item]:
    """Return the trash, the quarantine and the leftovers that are older than *grace* seconds."""
    return [item for item in found if item.kind != "entry" and item.used < now - grace]


def give_up(chosen: Sequence[Item], now: float, grace: float = GRACE_SECONDS) -> list[Item]:
    """Make entries invisible, unless someone began to use them; return those that are.

    Raises:
        OSError: when the cache cannot be written.
    """
    done = [item for item in chosen if _give_up(item.path, now - grace)]
    for stage in {item.path.parent for item in done}:
        _unindex(stage, {item.path.name for item in done if item.path.parent == stage})
    return done


def delete(chosen: Sequence[Item]) -> tuple[list[Item], list[OSError]]:
    """Delete for good; return what is gone, and why the rest is not."""
    gone, errors = [], []
    for item in chosen:
        try:
            shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink()
        except FileNotFoundError:
            continue  # someone else tidies too
        except OSError as error:
            errors.append(error)
        else:
            gone.append(item)
    return gone, errors


def _give_up(entry: Path, before: float) -> bool:
    """Rename an entry that was last used before that time; tell whether it is gone."""
    # Beside the entry: a move to another folder would need rights on the entry, and might count as
    # a use on some file systems.
    aside = entry.with_name(f".trash-{entry.name}-{secrets.token_hex(4)}")
    try:
        if entry.stat().st_mtime >= before:
            return False
        os.rename(entry, aside)
    except FileNotFoundError:
        return False
    if aside.stat().st_mtime >= before:
        with contextlib.suppress(OSError):  # a new one took its place: that one serves
            os.rename(aside, entry)
            return False
    with contextlib.suppress(OSError):
        os.utime(aside)  # its age as trash counts from now
    return True


def _unindex(stage: Path, names: Collection[str]) -> None:
    """Remove the index entries of a stage that lead to *names*, unless these are there again."""
    for path in (stage / ".index").glob("*"):
        with contextlib.suppress(OSError):
            name = path.read_text().strip()
            if name in names and not (stage / name).exists():
                path.unlink()


def _places(cache: Path) -> Iterator[tuple[Path, Kind]]:
    """Yield every path of a cache that an `Item` stands for."""
    for name in STAGES:
        yield from ((part, "leftover") for part in sorted(cache.glob(f".part-{name}-*")))
        for path in _children(cache / name):
            if path.name == ".quarantine":
                yield from ((bad, "quarantine") for bad in _children(path))
            elif path.name == ".index":
                yield from ((p, "leftover") for p in _children(path) if not _leads(p))
            elif path.name.startswith(".part-"):
                yield path, "leftover"
            elif path.name.startswith(".trash-"):
                yield path, "trash"
            elif path.name[0] != "." and (path / f"{path.name}.json").is_file():
                yield path, "entry"


def _leads(path: Path) -> bool:
    """Tell whether an index entry leads to an artifact's entry; one that is being written does not.

    What leads nowhere is no harm: it is left of what was put into quarantine.
    """
    try:
        return path.name[0] != "." and (path.parents[1] / path.read_text().strip()).is_dir()
    except OSError:
        return True


def _children(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted; nothing when it is none or is gone."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _measure(path: Path) -> tuple[int, int, float]:
    """Return bytes, bytes that no other link holds, and the newest time below *path*."""
    size = freed = 0
    newest = path.stat().st_mtime
    for place in (path, *path.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            found = place.stat()
            newest = max(newest, found.st_mtime)
            if place.is_file():
                size += found.st_size
                freed += found.st_size if found.st_nlink == 1 else 0
    return size, freed, newest

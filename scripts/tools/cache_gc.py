"""The table of a shared cache by age and size, and what is removed from it on request.

`python -m scripts.tools.upkeep cache-gc` (or `make cache-gc`) is the command; how it stays out of
the way of readers and writers is said in scripts/lib/artifacts/cache_upkeep.py.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.lib.amounts import bytes_in_words
from scripts.lib.artifacts import cache_upkeep
from scripts.lib.artifacts.cache_upkeep import Item
from scripts.lib.plan import invocation

AGES = {"h": 3600.0, "d": 24 * 3600.0, "w": 7 * 24 * 3600.0}
SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--cache", type=Path, help="folder; the first of TUNESMITH_CACHE if not given"
    )
    parser.add_argument("--older-than", type=age, help="entries unused for so long, such as 30d")
    parser.add_argument("--larger-than", type=size, help="entries of more than, such as 1G")
    parser.add_argument("--keep", type=size, help="the longest unused, until so much is left")
    parser.add_argument(
        "--grace",
        type=age,
        default=cache_upkeep.GRACE_SECONDS,
        help="keep what was used, and leftovers of this age, all the same (default 24h, least 1h)",
    )
    parser.add_argument("--remove", action="store_true", help="remove what is marked")


def run(arguments: argparse.Namespace) -> None:
    """List the cache and, on request, remove what was asked for.

    Raises:
        SystemExit: with a message, when there is no cache or it cannot be written.
    """
    cache = _cache(arguments.cache)
    grace = max(arguments.grace, cache_upkeep.LEAST_GRACE_SECONDS)
    now = time.time()
    try:
        found = sorted(cache_upkeep.items(cache), key=lambda item: item.used)
        chosen = cache_upkeep.choose(
            found,
            now,
            older_than=arguments.older_than,
            larger_than=arguments.larger_than,
            keep=arguments.keep,
            grace=grace,
        )
        passing = cache_upkeep.passing(found, now, grace)
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table(cache, found, {item.path for item in (*chosen, *passing)}, now))
        if arguments.remove:
            _remove(chosen, passing, now, grace)
        elif chosen or passing:
            print(f"to remove with --remove: {_sum([*chosen, *passing])}")
    except OSError as error:
        sys.exit(f"the cache {cache} cannot be tidied: {error}")


def table(cache: Path, found: Sequence[Item], marked: set[Path], now: float) -> Table:
    """Return what lies in a cache as a table, with totals by kind."""
    result = Table(title=str(cache))
    for heading in ("artifact", "kind"):
        result.add_column(heading, overflow="fold")
    for heading in ("unused for", "size", "freed"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("")
    for item in found:
        name = item.path.relative_to(cache).as_posix()
        sizes = (bytes_in_words(item.bytes), bytes_in_words(item.freed_bytes))
        word = "to remove" if item.path in marked else ""
        result.add_row(name, item.kind, _ago(now - item.used), *sizes, word)
    result.add_section()
    for kind in ("entry", "trash", "quarantine", "leftover"):
        some = [item for item in found if item.kind == kind]
        if some or kind == "entry":
            total = bytes_in_words(sum(item.bytes for item in some))
            freed = bytes_in_words(sum(item.freed_bytes for item in some))
            result.add_row(f"{len(some)} in all", kind, "", total, freed, "")
    return result


def age(text: str) -> float:
    """Return the seconds of an age such as `30d`, `12h` or `2w`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: write an age such as 30d, 12h or 2w")
    return float(match[1]) * AGES[match[2]]


def size(text: str) -> int:
    """Return the bytes of a size such as `1G`, `500M` or `2T`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: write a size such as 1G, 500M or 2T")
    return int(float(match[1]) * SIZES[match[2]])


def _cache(given: Path | None) -> Path:
    """Return the folder to tidy."""
    caches = invocation.open_store().caches
    cache = given.expanduser().absolute() if given else caches[0] if caches else None
    if cache is None:
        sys.exit(f"name a cache: make cache-gc CACHE=folder, or set {invocation.CACHE_VARIABLE}")
    if not cache.is_dir() or not os.access(cache, os.R_OK | os.X_OK):
        sys.exit(f"the cache {cache} is no folder that you can read")
    return cache


def _remove(chosen: Sequence[Item], passing: Sequence[Item], now: float, grace: float) -> None:
    """Remove what was chosen, and say what became of it."""
    moved = cache_upkeep.give_up(chosen, now, grace)
    print(
        f"moved to the trash: {_sum(moved)}; nobody finds it any more, and the first call with"
        f" --remove after {grace / 3600:.0f} hours deletes it"
    )
    if len(moved) < len(chosen):
        print(f"{len(chosen) - len(moved)} are used again, or went meanwhile")
    gone, errors = cache_upkeep.delete(passing)
    print(f"deleted: {_sum(gone)}")
    for error in errors:
        print(f"could not be deleted: {error}")


def _sum(found: Sequence[Item]) -> str:
    """Return how many and how much in words."""
    total, freed = sum(i.bytes for i in found), sum(i.freed_bytes for i in found)
    return f"{len(found)} ({bytes_in_words(total)}, which frees {bytes_in_words(freed)})"


def _ago(seconds: float) -> str:
    """Return a time span in its largest useful unit."""
    if seconds < 2 * 3600:
        return f"{max(seconds, 0) / 60:.0f} min"
    if seconds < 2 * 24 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / (24 * 3600):.0f} d"

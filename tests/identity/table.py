"""Rows of the table: a change of a world, and by hand what is then to be made.

rendered("a-tiny")   shards, and the examples of them
tuned("gentle")      all that is made for one run, from its adapter on
merged("gentle")     the same from the merged model on
scored("tiny")       scores and categories of one candidate on both benchmarks
END                  the comparison and the report
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.identity.world import World

RUNS = ("gentle", "strong", "chatty")
END = frozenset({"comparisons", "reports"})
CHAT = frozenset({"chat:orders", "chat:chats"})
FETCHED = frozenset({"models:tiny", "raw:orders", "raw:chats"})
QUESTIONS = frozenset({"benchmarks:mmlu", "benchmarks:exact"})


def rendered(*names: str) -> frozenset[str]:
    """Return shards, and the examples of them."""
    return frozenset(f"{stage}:{name}" for name in names for stage in ("shards", "examples"))


EXAMPLES = frozenset({"examples:orders-tiny", "examples:chats-tiny"})
SHARDS = rendered("orders-tiny", "chats-tiny")


def searched(*datasets: str, on: Iterable[str] = ("mmlu", "exact")) -> frozenset[str]:
    """Return the searches for benchmarks' questions in datasets."""
    return frozenset(f"contamination:{name}-{label}" for name in datasets for label in on)


SEARCHES = searched("orders", "chats")
ORDERS = rendered("orders-tiny") | {"chat:orders"} | searched("orders")
CHATS = rendered("chats-tiny") | {"chat:chats"} | searched("chats")


def categories(*names: str, on: Iterable[str] = ("mmlu", "exact")) -> frozenset[str]:
    """Return the category scores of candidates."""
    return frozenset(f"categories:{name}/{label}" for name in names for label in on)


def scored(*names: str, on: Iterable[str] = ("mmlu", "exact")) -> frozenset[str]:
    """Return the scores of candidates and the categories that follow from them."""
    found = frozenset(f"scores:{name}/{label}" for name in names for label in on)
    return found | categories(*names, on=on)


def merged(*names: str) -> frozenset[str]:
    """Return what follows for runs whose merged model is made again."""
    own = {f"{stage}:{name}" for name in names for stage in ("merged", "proofs")}
    return own | scored(*names)


def tuned(*names: str) -> frozenset[str]:
    """Return what follows for runs that are trained again."""
    return merged(*names) | {f"adapters:{name}" for name in names}


@dataclass(frozen=True)
class Row:
    """One change.

    Attributes:
        name: What happens, in words.
        change: Does it to a fully run world.
        missing: What the next plan then makes, no more and no less.
        world: Which world it happens to.
        by_identity: Whether the change shows in keys; else in what lies on disk.
    """

    name: str
    change: Callable[[World], None]
    missing: frozenset[str]
    world: str = "local"
    by_identity: bool = field(default=True, kw_only=True)


def failure(row: Row, found: set[str]) -> str:
    """Return what is wrong with *found*: an empty text when it is what the row expects."""
    stale = ", ".join(sorted(row.missing - found))
    needless = ", ".join(sorted(found - row.missing))
    return " ".join(
        [f"{row.name}: stale: {stale}."] * bool(stale)
        + [f"{row.name}: needless: {needless}."] * bool(needless)
    )


def failures(rows: Iterable[Row], worlds: dict[str, World], folder: Path) -> list[str]:
    """Apply every row to a copy of its world in *folder* and return what is wrong."""
    result = []
    for index, row in enumerate(rows):
        world = worlds[row.world].copy(folder / str(index))
        row.change(world)
        result.append(failure(row, world.missing()))
        shutil.rmtree(world.base)
    return [text for text in result if text]

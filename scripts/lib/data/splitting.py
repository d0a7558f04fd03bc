"""Which split each usable row stands in, and which repeat another: decided over all rows at once.

A row's split is drawn from its content or its group, so that adding rows moves no other. Then

1. rows whose group stands in a held-out file are dropped from the rest of the data;
2. of equal rows one stays, and of near duplicates, where they are looked for: that in test before
   that in valid before that in train, and the first of a split;
3. where a fraction is asked for and drew nothing, the group nearest to its border is held out, as
   long as one is left for training. Another row that is drawn, or nearer, takes its place.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scripts.lib.data.draws import Draw
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.near_duplicates import Signatures, near_duplicates

SOURCE_ORDER = ("test", "valid", "train")
"""Sources and splits by number. Held-out ones come first: of two equal rows, theirs stays."""

TRAIN = SOURCE_ORDER.index("train")
DROPPED = len(SOURCE_ORDER)


@dataclass(frozen=True, kw_only=True)
class UsableRows:
    """Usable rows in the order of their sources, a place in each array for one.

    Attributes:
        source: Number of its source in SOURCE_ORDER.
        number: Its number in its source.
        content: Equal for equal conversations.
        place: From which its split is drawn.
        grouped: Whether it has a group; rows with one place are one group.
    """

    source: npt.NDArray[np.uint8]
    number: npt.NDArray[np.int64]
    content: npt.NDArray[np.uint64]
    place: npt.NDArray[np.uint64]
    grouped: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.source)

    def id_of(self, row: int) -> str:
        """Return what the conversations table calls a row."""
        return f"{SOURCE_ORDER[self.source[row]]}:{self.number[row]}"


class Repeated(NamedTuple):
    """Why a usable row is dropped.

    Attributes:
        reason: As the ledger has it; `duplicate`, `near_duplicate` or `group`, and of which split.
        of: The row that stays.
        similarity: How much of their shingles near duplicates share, 0-1.
    """

    reason: str
    of: int
    similarity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of usable rows.

    Attributes:
        split: Number of the split of each row; DROPPED if it is.
        dropped: Why those are that are.
        nearest: Split that no row was drawn for -> a row of the group that stands in it now.
    """

    split: npt.NDArray[np.uint8]
    dropped: Mapping[int, Repeated]
    nearest: Mapping[str, int]

    def count(self, split: str) -> int:
        """Return how many rows stand in a split."""
        return int((self.split == SOURCE_ORDER.index(split)).sum())


def usable_rows(source: str, rows: Sequence[tuple[int, Draw]]) -> UsableRows:
    """Return rows of a source, each with its number there, in arrays."""
    draws = [draw for _, draw in rows]
    return UsableRows(
        source=np.full(len(rows), SOURCE_ORDER.index(source), dtype=np.uint8),
        number=np.array([number for number, _ in rows], dtype=np.int64),
        content=np.frombuffer(b"".join(draw.content for draw in draws), dtype="<u8").reshape(-1, 2),
        place=np.array([draw.place for draw in draws], dtype=np.uint64),
        grouped=np.array([draw.grouped for draw in draws], dtype=np.bool_),
    )


def joined(parts: Sequence[UsableRows]) -> UsableRows:
    """Return the rows of all parts, one after another."""
    names = UsableRows.__dataclass_fields__
    return UsableRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def decide(
    spec: FormatSpec,
    rows: UsableRows,
    given: Collection[str],
    signatures: Signatures | None = None,
) -> Decision:
    """Split usable rows, and drop those that repeat others.

    Args:
        spec: What decides it.
        rows: In the order of their sources.
        given: Sources that the dataset brings; the other splits are drawn from the training rows.
        signatures: Of the rows, where near duplicates are looked for.
    """
    split = _drawn(spec, rows, given)
    dropped = _leaking_groups(rows)
    dropped |= _duplicates(rows, split, _left(rows, dropped))
    if signatures is not None and spec.near_duplicates is not None:
        left = _left(rows, dropped)
        order = left[np.argsort(split[left], kind="stable")]
        found = near_duplicates(signatures, order, spec.near_duplicates["threshold"])
        for row, (of, similarity) in sorted(found.items()):
            dropped[row] = Repeated(_reason("near_duplicate", split, row, of), of, similarity)
    nearest = {}
    for held, fraction, end in (
        ("test", spec.test_fraction, 0),
        ("valid", spec.valid_fraction, -1),
    ):
        number = SOURCE_ORDER.index(held)
        left = _left(rows, dropped)
        if held in given or fraction <= 0 or (split[left] == number).any():
            continue
        places = np.unique(rows.place[left[split[left] == TRAIN]])
        if len(places) > 1:
            moved = left[(split[left] == TRAIN) & (rows.place[left] == places[end])]
            split[moved] = number
            nearest[held] = int(moved[0])
    split[list(dropped)] = DROPPED
    return Decision(split=split, dropped=dropped, nearest=nearest)


def _drawn(spec: FormatSpec, rows: UsableRows, given: Collection[str]) -> npt.NDArray[np.uint8]:
    """Return the split that each row is drawn for.

    Test is cut from the lower end and valid from the upper one, so that changing one fraction does
    not touch the other.
    """
    split = rows.source.copy()
    drawn = split == TRAIN
    share = rows.place.astype(np.float64) / 2**64
    if "valid" not in given:
        split[drawn & (share >= 1 - spec.valid_fraction)] = SOURCE_ORDER.index("valid")
    if "test" not in given:
        split[drawn & (share < spec.test_fraction)] = SOURCE_ORDER.index("test")
    return split


def _leaking_groups(rows: UsableRows) -> dict[int, Repeated]:
    """Return the rows whose group stands in a held-out file that comes before theirs."""
    dropped: dict[int, Repeated] = {}
    grouped = np.flatnonzero(rows.grouped)
    for held in range(TRAIN):
        owners = grouped[rows.source[grouped] == held]
        places, first = np.unique(rows.place[owners], return_index=True)
        others = grouped[rows.source[grouped] > held]
        if not len(places):
            continue
        spot = np.minimum(np.searchsorted(places, rows.place[others]), len(places) - 1)
        for row, one in zip(others.tolist(), spot.tolist(), strict=True):
            if rows.place[row] == places[one] and row not in dropped:
                of = int(owners[first[one]])
                dropped[row] = Repeated(f"group_of_{SOURCE_ORDER[held]}", of)
    return dropped


def _duplicates(
    rows: UsableRows, split: npt.NDArray[np.uint8], left: npt.NDArray[np.int64]
) -> dict[int, Repeated]:
    """Return the rows that are equal to another which stays."""
    content = rows.content[left]
    order = left[np.lexsort((left, split[left], content[:, 0], content[:, 1]))]
    known = rows.content[order]
    again = np.zeros(len(order), dtype=np.bool_)
    again[1:] = (known[1:] == known[:-1]).all(axis=1)
    # Each row goes by the first of its equals.
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    return {
        row: Repeated(_reason("duplicate", split, row, of), of)
        for row, of in sorted(zip(order[again].tolist(), order[first[again]].tolist(), strict=True))
    }


def _reason(kind: str, split: npt.NDArray[np.uint8], row: int, of: int) -> str:
    return kind if split[row] == split[of] else f"{kind}_of_{SOURCE_ORDER[split[of]]}"


def _left(rows: UsableRows, dropped: Collection[int]) -> npt.NDArray[np.int64]:
    """Return the rows that are not dropped."""
    stays = np.ones(len(rows), dtype=np.bool_)
    stays[list(dropped)] = False
    return np.flatnonzero(stays)

"""Rows of a benchmark that cannot be asked: how they are told, left out and counted."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from scripts.lib.errors import ConfigError

T = TypeVar("T")

SHOWN_ROWS = 20
"""An error lists so many bad rows; more would hide how the message begins."""

LEDGER = "left_out.jsonl"
"""Lists the rows that a fetched benchmark goes without; not there where it has all of them."""

# Reasons for which no row is left out. A line that cannot be read says that the file is broken:
# nobody knows what stood there, and often more is gone. The others are for the benchmark's own
# settings to decide.
UNREADABLE, AMBIGUOUS, NEEDS_TEMPLATE = "unreadable", "ambiguous_answer", "needs_chat_template"
NO_NUMBER = "no_number"
_STAY = frozenset({UNREADABLE, AMBIGUOUS, NEEDS_TEMPLATE, NO_NUMBER})

_SHOWN_CHARACTERS = 60


class Fault(NamedTuple):
    """What is wrong with a row.

    Attributes:
        reason: A word or words in snake_case, by which such rows are counted.
        text: Goes on after the place of the row.
    """

    reason: str
    text: str


FaultOf = Callable[[Mapping[str, Any]], Fault | None]


class BadRow(NamedTuple):
    """A row that is no question.

    Attributes:
        number: Its line, or its place from 1 where rows do not stand on lines.
        fault: What is wrong with it.
        category: Its category, where it has one that can be read.
    """

    number: int
    fault: Fault
    category: str | None = None


@dataclass(frozen=True)
class Rows(Generic[T]):
    """The rows of one file.

    Attributes:
        place: What an error calls the file.
        good: Those that can be asked, in order.
        bad: The others, in order.
        on_lines: Whether a row's number is that of its line.
    """

    place: Path
    good: Sequence[T]
    bad: Sequence[BadRow]
    on_lines: bool = True


def shown(value: object) -> str:
    """Return a value as it stands in an error: short, and text in quotes."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def what_stops(files: Collection[Rows[Any]], on_bad_row: str | None) -> str | None:
    """Say why a benchmark with these rows cannot be asked, or return None.

    Args:
        files: All its files.
        on_bad_row: `error`, or `leave_out` to go without the rows that are no questions; None where
            there is no choice.

    Returns:
        All rows that are in the way, in all files, and what to do; or which file has no others.
    """
    bad = [(rows, row) for rows in files for row in rows.bad]
    told = [one for one in bad if on_bad_row != "leave_out" or one[1].fault.reason in _STAY]
    if told:
        total = sum(len(rows.good) + len(rows.bad) for rows in files)
        remedy = _remedy([row.fault.reason for _, row in told], on_bad_row)
        are = "is no question" if len(told) == 1 else "are no questions"
        return f"{len(told):,} of {total:,} rows {are}:{_listed(told)}\n  {remedy}"
    for rows in files:
        if not rows.good:
            none = _listed([(rows, row) for row in rows.bad])
            return f"{rows.place} holds no questions. Check the benchmark's source.{none}"
    return None


def refuse_bad_rows(spec: Mapping[str, Any], files: Mapping[str, Rows[Any]]) -> None:
    """Refuse files with bad rows that the benchmark does not leave out.

    Args:
        spec: The benchmark's.
        files: Its files by name.

    Raises:
        ConfigError: Lists all such rows; or names a file of which none is left.
    """
    if text := what_stops(list(files.values()), spec.get("on_bad_row", "error")):
        raise ConfigError(text)


def _listed(bad: Sequence[tuple[Rows[Any], BadRow]]) -> str:
    lines = [f"{_where(rows, row.number)} {row.fault.text}" for rows, row in bad[:SHOWN_ROWS]]
    if more := len(bad) - len(lines):
        lines.append(f"and {more:,} more")
    return "".join(f"\n    {line}" for line in lines)


def _where(rows: Rows[Any], number: int) -> str:
    return f"{rows.place}:{number}" if rows.on_lines else f"{rows.place}: row {number}"


def _remedy(reasons: Sequence[str], on_bad_row: str | None) -> str:
    if on_bad_row is None:
        return "Correct them."
    others = sum(reason not in _STAY for reason in reasons)
    if not others:
        return "Correct them; such rows are never left out."
    if others < len(reasons):
        return f"Correct them; `on_bad_row: leave_out` leaves {others:,} of them out."
    return "Correct them, or set `on_bad_row: leave_out`: they are then left out and counted."


def write_ledger(files: Mapping[str, Rows[Any]], out: Path) -> None:
    """Write which rows a benchmark goes without, where there are any.

    Args:
        files: Name of a file in the benchmark's spec -> its rows.
        out: The benchmark's folder.
    """
    lines = [
        json.dumps({"file": name, "row": row.number, **row.fault._asdict()})
        for name, rows in files.items()
        for row in rows.bad
    ]
    if lines:
        (out / LEDGER).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def count_left_out(
    benchmark: Path, subjects: Collection[str], *, examples: bool
) -> dict[str, dict[str, int]]:
    """Count the rows that a benchmark goes without.

    Args:
        benchmark: Its folder.
        subjects: Those that are asked; empty for all.
        examples: Whether few-shot examples are shown.

    Returns:
        `questions` and `examples` -> reason -> number of rows; nothing of what has all its rows.
    """
    if not (benchmark / LEDGER).is_file():
        return {}
    text = (benchmark / LEDGER).read_text(encoding="utf-8")
    found: dict[str, Counter[str]] = {}
    for row in map(json.loads, text.splitlines()):
        place = Path(row["file"])
        shown_first = place.parts[0] == "dev" or place.stem == "shots"
        # Only MMLU's layout has a file for each subject, and only there are some asked for.
        if (subjects and place.stem not in subjects) or (shown_first and not examples):
            continue
        found.setdefault("examples" if shown_first else "questions", Counter())[row["reason"]] += 1
    return {part: dict(sorted(counts.items())) for part, counts in found.items()}


def add_counts(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Add up what `count_left_out` found for parts of a benchmark."""
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for name, counts in part.items():
            total.setdefault(name, Counter()).update(counts)
    return {name: dict(sorted(counts.items())) for name, counts in total.items()}

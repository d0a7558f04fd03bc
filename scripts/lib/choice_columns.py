"""Columns that a file of multiple-choice questions needs, seen before its rows are read."""

from collections.abc import Iterable
from pathlib import Path

from scripts.lib.errors import ConfigError
from scripts.lib.sources import all_columns, column_names


def check_columns(place: Path, category: str | None) -> None:
    """Refuse a file of questions without the columns that they need.

    Raises:
        ConfigError: Names those that it lacks and those that it has.
    """
    there = column_names(place)
    if missing_columns(there, category):
        # Of JSON only the first row was seen, which may be a bad one.
        there = all_columns(place)
    if lacking := missing_columns(there, category):
        raise ConfigError(
            f"{place} has no column {', '.join(lacking)}; its columns are {', '.join(there)}"
        )


def missing_columns(columns: Iterable[str], category: str | None) -> list[str]:
    """Return the columns that a file of questions lacks, in words.

    Args:
        columns: Those that it has.
        category: The column of the category, if the benchmark has one.
    """
    there = set(columns)
    lacking = [name for name in ("question", "answer") if name not in there]
    if "choices" not in there and not {"A", "B"} <= there:
        lacking.append("choices (or A, B, ...)")
    if category and category not in there:
        lacking.append(category)
    return lacking

"""Columns that a file of multiple-choice questions needs, seen before its rows are read."""

from collections.abc import Iterable
from pathlib import Path

from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_files import all_columns, column_names


def check_columns(place: Path, category: str | None) -> None:
    """Refuse a file of questions without the columns that they need.

    Raises:
        ConfigError: Names those that it lacks and those that it has.
    """
    there = column_names(place)
    if missing_columns(there, category):
        there = all_columns(place)
    if lacking := missing_columns(there, category):
        raise ConfigError(
            f"{place} has no column {', '.join(lacking)}; its columns are {', '.join(there)}"
        )


def has_column(place: Path, column: str | None) -> bool:
    """Tell whether any row of a file of questions has a column; the one that is None is in none.

    Raises:
        ConfigError: when it cannot be read as what its suffix says.
    """
    # Of JSON the first row alone is seen first, which may be a bad one.
    return column is not None and (column in column_names(place) or column in all_columns(place))


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

"""Columns that a file of multiple-choice questions needs; planning looks at nothing else of it."""

from collections.abc import Iterable


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

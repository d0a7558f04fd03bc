"""The files of a user's own multiple-choice set, read, checked and put in order.

Nothing is written here.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.multiple_choice.rows import sort_choices
from scripts.lib.errors import ConfigError
from scripts.lib.questions.bad_rows import Rows
from scripts.lib.questions.category_names import file_name
from scripts.lib.questions.rows import Row

# Name of the one subject of a set without categories.
_ONLY_SUBJECT = "questions"

# Longest file name of a category, in bytes: file systems allow 255, and other words go around it.
_NAME_BYTES = 120


def read_choices(spec: Mapping[str, Any], places: Mapping[str, Path]) -> dict[str, Rows[Any]]:
    """Read the files of a set, the bad rows apart.

    Args:
        spec: The benchmark's.
        places: Name of a file in the spec -> where it is.

    Raises:
        ConfigError: A file as a whole cannot be read, or its answers may count from 1.
    """
    return {
        name: sort_choices(
            place,
            answers=spec["answers"],
            category=spec["shots_category" if _split(name) == "shots" else "category"],
        )
        for name, place in places.items()
    }


def arrange_choices(
    spec: Mapping[str, Any], files: Mapping[str, Rows[Row]]
) -> dict[str, list[Row]]:
    """Return a user's own set as files of `test/` and `dev/`, one for each category.

    Args:
        spec: The benchmark's.
        files: Its files, `test.*` and where examples are shown `shots.*`.

    Raises:
        ConfigError: A category has no question left, too few examples, or no name of its own.
    """
    by_split = {_split(name): rows for name, rows in files.items()}
    asked = by_split["test"]
    questions = _by_category(asked.good)
    if lost := sorted({row.category for row in asked.bad if row.category} - {*questions}):
        raise ConfigError(
            f"{asked.place}: no question is left of {', '.join(map(repr, lost))}; correct the rows"
            " of this category, or take them out of the file"
        )
    names = _file_names(questions, asked.place)
    arranged = {f"test/{names[category]}.jsonl": rows for category, rows in questions.items()}
    if not spec["shots"]:
        return arranged
    solved = by_split["shots"]
    examples = _by_category(solved.good)
    for category in questions:
        shown = examples.get(category if spec["shots_category"] else None, [])
        if len(shown) < spec["shots"]:
            raise ConfigError(
                f"{solved.place} holds {len(shown)} questions"
                f"{f' of {category}' if spec['shots_category'] else ''}, but"
                f" {spec['shots']} shots are asked for; add rows, or lower `shots`"
            )
        arranged[f"dev/{names[category]}.jsonl"] = shown[: spec["shots"]]
    return arranged


def _split(name: str) -> str:
    return name.partition(".")[0]


def _by_category(rows: Sequence[Row]) -> dict[str | None, list[Row]]:
    """Return category -> its rows in the order of the file."""
    ordered = sorted(rows, key=lambda row: row["subject"] or "")
    return {key: list(part) for key, part in groupby(ordered, key=lambda row: row["subject"])}


def _file_names(categories: Mapping[str | None, Any], place: Path) -> dict[str | None, str]:
    """Return category -> the stem of its file.

    Raises:
        ConfigError: Two categories would share a file, here or among the scores.
    """
    names: dict[str | None, str] = {}
    taken = {"average": "the average"}
    for category in categories:
        name = _ONLY_SUBJECT if category is None else file_name(category)
        if name in taken or not name.strip("_") or len(name.encode()) > _NAME_BYTES:
            raise ConfigError(
                f"{place}: the category {category!r} cannot name a file of its own"
                + (f" beside {taken[name]}" if name in taken else "")
                + "; give it a short name of letters and digits that differs from the others"
            )
        names[category] = name
        taken[name] = repr(category)
    return names

"""Rows of a user's own multiple-choice questions -> questions in the form that scoring reads.

A row has `question`; its choices as a list in `choices`, or one in each of the columns `A`, `B`,
`C` and so on; and `answer`, as letter, as place in the list, or as the text of the right choice.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, TypedDict

from scripts.lib.errors import ConfigError
from scripts.lib.records import RawRow, read_rows
from scripts.lib.unusable import UnusableRow

Answers = Literal["auto", "letter", "index_from_0", "index_from_1", "text"]

LETTERS = ascii_uppercase
# An error lists so many bad rows; more would hide how the message begins.
SHOWN_FAULTS = 20

_WHOLE_NUMBER = re.compile(r"\d+", re.ASCII)


class Choice(TypedDict):
    """One question as scoring reads it.

    Attributes:
        question: Its text.
        choices: The texts to choose from, at least two.
        answer: Place of the right one, from 0.
        subject: Its category, or None.
    """

    question: str
    choices: list[str]
    answer: int
    subject: str | None


class BadRowError(Exception):
    """A row that is no question; the text goes on after the place of the row."""


def read_choices(path: Path, *, answers: Answers, category: str | None) -> list[Choice]:
    """Read a file of questions.

    Args:
        path: JSON lines, JSON, CSV or Parquet.
        answers: What `answer` holds; `auto` takes every reading that makes sense, and refuses a
            row in which two of them do.
        category: The column of the category, or None.

    Raises:
        ConfigError: Lists the rows that are no questions: file, number of the row from 1, fault.
    """
    rows = list(read_rows(path))
    _check_counting(path, rows, answers)
    found: list[Choice] = []
    faults = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(_choice(row, answers, category))
        except BadRowError as fault:
            faults.append(f"row {number} {fault}")
    if faults:
        shown = faults[:SHOWN_FAULTS] + ["..."] * (len(faults) > SHOWN_FAULTS)
        raise ConfigError(
            f"{path}: {len(faults)} of {len(rows)} rows are no questions; correct them:\n  "
            + "\n  ".join(shown)
        )
    if not found:
        raise ConfigError(f"{path} holds no questions")
    return found


def _choice(row: RawRow, answers: Answers, category: str | None) -> Choice:
    if isinstance(row, UnusableRow):
        raise BadRowError(f"cannot be read: {row.detail}")
    if not isinstance(row, Mapping):
        raise BadRowError("is not an object")
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise BadRowError("has no text in `question`")
    choices = _choices(row)
    return {
        "question": question,
        "choices": choices,
        "answer": _answer(row.get("answer"), choices, answers),
        "subject": None if category is None else _category(row.get(category), category),
    }


def _choices(row: Mapping[str, Any]) -> list[str]:
    found = row["choices"] if "choices" in row else _lettered(row)
    if isinstance(found, str):
        # In a CSV file a list can only be its text.
        try:
            found = json.loads(found)
        except ValueError:
            raise BadRowError("has no list in `choices`") from None
    if not isinstance(found, list):
        raise BadRowError("has no list in `choices`")
    if not 2 <= len(found) <= len(LETTERS):
        raise BadRowError(f"needs 2 to {len(LETTERS)} choices")
    texts = [_text(choice) for choice in found]
    if not all(texts):
        raise BadRowError(f"has no text in choice {LETTERS[texts.index('')]}")
    if len(set(texts)) < len(texts):
        raise BadRowError("has the same choice twice")
    return texts


def _lettered(row: Mapping[str, Any]) -> list[Any]:
    """Return the columns A, B, ... up to the last that is filled."""
    cells = [row.get(letter) for letter in LETTERS]
    while cells and cells[-1] in (None, ""):
        cells.pop()
    return cells


def _text(value: object) -> str:
    """Return a choice, a category or an answer as text; '' for what is none."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if type(value) is int else ""


def _category(value: object, column: str) -> str:
    if not (text := _text(value)):
        raise BadRowError(f"has no text in `{column}`")
    return text


def _answer(value: object, choices: Sequence[str], answers: Answers) -> int:
    text = _text(value)
    if not text:
        raise BadRowError("has neither text nor a whole number in `answer`")
    readings = {name: place for name, place in _readings(text, choices) if answers in (name, _AUTO)}
    if answers == _AUTO:
        # Counting from 1 is never guessed: it would fit most rows that count from 0 as well.
        readings.pop("index_from_1", None)
    places = set(readings.values())
    if not places:
        raise BadRowError(f"has {text!r} in `answer`, which is none of its {len(choices)} choices")
    if len(places) > 1:
        raise BadRowError(
            f"has {text!r} in `answer`, which can be read as {' and as '.join(readings)};"
            " say in the benchmark's `answers` which is meant"
        )
    return places.pop()


_AUTO = "auto"


def _readings(text: str, choices: Sequence[str]) -> Iterable[tuple[str, int]]:
    """Yield every way in which *text* names one of *choices*."""
    if text in choices:
        yield "text", choices.index(text)
    if len(text) == 1 and text in LETTERS[: len(choices)]:
        yield "letter", LETTERS.index(text)
    if _WHOLE_NUMBER.fullmatch(text):
        number = int(text)
        if number < len(choices):
            yield "index_from_0", number
        if 1 <= number <= len(choices):
            yield "index_from_1", number - 1


def _check_counting(path: Path, rows: Sequence[RawRow], answers: Answers) -> None:
    """Refuse to guess where a file's places may count from 1."""
    texts = [_text(row.get("answer")) for row in rows if isinstance(row, Mapping)]
    numbers = [int(text) for text in texts if _WHOLE_NUMBER.fullmatch(text)]
    if answers == _AUTO and texts and len(numbers) == len(texts) and min(numbers) > 0:
        raise ConfigError(
            f"{path}: every `answer` is a whole number and none is 0, so they may count from 1;"
            " say `answers: index_from_0`, `index_from_1` or `text` for this benchmark"
        )

"""A user's own multiple-choice rows, checked and put in order, in the form that scoring reads.

A row has `question`; its choices as a list in `choices`, or one in each of the columns `A`, `B`,
`C` and so on; and `answer`, as letter, as place in the list, or as the text of the right choice.
Nothing is written here.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypedDict

from scripts.lib.data.records import RawRow, UnusableRow, is_array, read_numbered_rows
from scripts.lib.errors import ConfigError, RecordError
from scripts.lib.questions.bad_rows import AMBIGUOUS, UNREADABLE, BadRow, Fault, Rows, shown
from scripts.lib.questions.category_names import file_name
from scripts.lib.questions.rows import BROKEN_CHARACTERS, LETTERS, Row, is_unicode

Answers = Literal["auto", "letter", "index_from_0", "index_from_1", "text"]

# No more digits than the place of a choice can have, by far.
_WHOLE_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


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


class _BadRowError(Exception):
    """A row that is no question."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(reason, text)


def sort_choices(path: Path, *, answers: Answers, category: str | None) -> Rows[Choice]:
    """Read a file of questions, the rows that are none apart.

    Args:
        path: JSON lines, JSON, CSV or Parquet.
        answers: What `answer` holds; `auto` takes every reading that makes sense, and finds fault
            with a row in which two of them do.
        category: The column of the category, or None.

    Raises:
        ConfigError: The file as a whole cannot be read, or its answers may count from 1.
    """
    good: list[Choice] = []
    bad: list[BadRow] = []
    told: list[tuple[str, bool]] = []
    try:
        for number, row in read_numbered_rows(path):
            answer = _text(row.get("answer")) if isinstance(row, Mapping) else ""
            try:
                good.append(_choice(row, answers, category))
                told.append((answer, True))
            except _BadRowError as error:
                bad.append(BadRow(number, error.fault, _category_of(row, category)))
                told.append((answer, False))
    except RecordError as error:
        raise ConfigError(str(error)) from error
    if answers == _AUTO:
        _check_counting(path, told)
    on_lines = path.suffix == ".csv" or (path.suffix == ".jsonl" and not is_array(path))
    return Rows(path, good, bad, on_lines=on_lines)


def _choice(row: RawRow, answers: Answers, category: str | None) -> Choice:
    if isinstance(row, UnusableRow):
        raise _BadRowError(UNREADABLE, f"cannot be read: {row.detail}")
    if not isinstance(row, Mapping):
        raise _BadRowError(UNREADABLE, "is not an object")
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise _BadRowError("without_question", "has no text in `question`")
    choices = _choices(row)
    subject = None if category is None else _text(row.get(category))
    if subject == "":
        raise _BadRowError("without_category", f"has no text in `{category}`")
    if not is_unicode("".join([question, *choices, subject or ""])):
        raise _BadRowError(*BROKEN_CHARACTERS)
    return {
        "question": question,
        "choices": choices,
        "answer": _answer(row.get("answer"), choices, answers),
        "subject": subject,
    }


def _category_of(row: RawRow, category: str | None) -> str | None:
    return _text(row.get(category)) or None if isinstance(row, Mapping) else None


def _choices(row: Mapping[str, Any]) -> list[str]:
    found = row["choices"] if "choices" in row else _lettered(row)
    if isinstance(found, str):
        # In a CSV file a list can only be its text.
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, list):
        raise _BadRowError(_UNUSABLE, "has no list in `choices`")
    if not 2 <= len(found) <= len(LETTERS):
        raise _BadRowError(_UNUSABLE, f"needs 2 to {len(LETTERS)} choices")
    texts = [_text(choice) for choice in found]
    if not all(texts):
        raise _BadRowError(_UNUSABLE, f"has no text in choice {LETTERS[texts.index('')]}")
    # Equal choices may stay: the model answers with a letter, and letters differ.
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


def _answer(value: object, choices: Sequence[str], answers: Answers) -> int:
    text = _text(value)
    if not text:
        text = "has neither text nor a whole number in `answer`"
        raise _BadRowError("without_answer", text)
    readings = [
        (name, place) for name, place in _readings(text, choices) if answers in (name, _AUTO)
    ]
    if answers == _AUTO:
        # Counting from 1 is never guessed: it would fit most rows that count from 0 as well.
        readings = [reading for reading in readings if reading[0] != "index_from_1"]
    names = list(dict.fromkeys(name for name, _ in readings))
    places = {place for _, place in readings}
    if not places:
        raise _BadRowError(
            "answer_not_among_choices",
            f"has {shown(text)} in `answer`, which is none of its {len(choices)} choices",
        )
    if len(places) > 1 and names == ["text"]:
        same = " and ".join(LETTERS[place] for place in sorted(places))
        raise _BadRowError(
            "equal_choices",
            f"has {shown(text)} in `answer`, which is the text of {same}; a letter would say which",
        )
    if len(places) > 1:
        raise _BadRowError(
            AMBIGUOUS,
            f"has {shown(text)} in `answer`, which can be read as {' and as '.join(names)};"
            " say in the benchmark's `answers` which is meant",
        )
    return places.pop()


_AUTO = "auto"
_UNUSABLE = "unusable_choices"


def _readings(text: str, choices: Sequence[str]) -> Iterable[tuple[str, int]]:
    """Yield every way in which *text* names one of *choices*."""
    yield from (("text", place) for place, choice in enumerate(choices) if choice == text)
    if len(text) == 1 and text in LETTERS[: len(choices)]:
        yield "letter", LETTERS.index(text)
    if _WHOLE_NUMBER.fullmatch(text):
        number = int(text)
        if number < len(choices):
            yield "index_from_0", number
        if 1 <= number <= len(choices):
            yield "index_from_1", number - 1


def _check_counting(path: Path, told: Sequence[tuple[str, bool]]) -> None:
    """Refuse to guess where a file's places may count from 1.

    Args:
        path: The file.
        told: For each row what stands in `answer`, and whether the row is a question. Of bad rows
            only numbers count: one of them must not hide how the others count.
    """
    numbers = [int(text) for text, _ in told if _WHOLE_NUMBER.fullmatch(text)]
    other = any(good and not _WHOLE_NUMBER.fullmatch(text) for text, good in told)
    if numbers and not other and min(numbers) > 0:
        raise ConfigError(
            f"{path}: every `answer` is a whole number and none is 0, so they may count from 1;"
            " say `answers: index_from_0`, `index_from_1` or `text` for this benchmark"
        )


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

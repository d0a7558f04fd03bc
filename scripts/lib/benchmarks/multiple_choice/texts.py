"""The texts of a user's own multiple-choice questions, without the choices."""

from collections.abc import Iterator
from pathlib import Path

from scripts.lib.contamination.texts import QuestionText, choice_texts

# As the questions of a set without categories are named.
_ONLY_SUBJECT = "questions"


def texts(benchmark: Path, subject: str | None) -> Iterator[QuestionText]:
    """Yield every question.

    Args:
        benchmark: Folder with `test/`.
        subject: None: all categories are read.
    """
    for stem, place, row in choice_texts(benchmark):
        category = row.get("subject") or _ONLY_SUBJECT
        yield QuestionText(f"{stem}:{place}", category, row["question"])

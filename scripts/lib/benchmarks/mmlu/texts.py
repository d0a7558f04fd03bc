"""The texts of MMLU's questions, without the choices."""

from collections.abc import Iterator
from pathlib import Path

from scripts.lib.contamination.texts import QuestionText, choice_texts


def texts(benchmark: Path, subject: str | None) -> Iterator[QuestionText]:
    """Yield every question.

    Args:
        benchmark: Folder with `test/`.
        subject: None: all subjects are read.
    """
    for stem, place, row in choice_texts(benchmark):
        yield QuestionText(f"{stem}:{place}", stem, row["question"])

"""The texts of prompts whose answers are judged: what the user says last."""

from collections.abc import Iterator
from pathlib import Path

from scripts.lib.contamination.texts import QuestionText, last_user_turn
from scripts.lib.judge.rows import FILE_SUBJECT, read_judged_rows


def texts(benchmark: Path, subject: str | None) -> Iterator[QuestionText]:
    """Yield every prompt.

    Args:
        benchmark: Folder with `questions.jsonl`, or of `format_chat`.
        subject: The held-out split that is asked, or None for the file.
    """
    for row in read_judged_rows(benchmark, subject):
        yield QuestionText(row.id, subject or FILE_SUBJECT, last_user_turn(row.messages))

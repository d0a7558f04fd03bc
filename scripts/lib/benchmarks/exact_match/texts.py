"""The texts of questions whose answer is generated and compared."""

from collections.abc import Iterator
from pathlib import Path

from scripts.lib.contamination.texts import QuestionText, last_user_turn, rows_of
from scripts.lib.questions.rows import QUESTIONS_FILE, messages_of

# As these questions are named.
_ONLY_SUBJECT = "questions"


def texts(benchmark: Path, subject: str | None) -> Iterator[QuestionText]:
    """Yield every question: of several turns what the user says last.

    Args:
        benchmark: Folder with `questions.jsonl`.
        subject: None: there are no subjects.
    """
    for place, row in enumerate(rows_of(benchmark / QUESTIONS_FILE)):
        text = last_user_turn(messages_of(row))
        yield QuestionText(f"{_ONLY_SUBJECT}:{place}", _ONLY_SUBJECT, text)

"""The texts of a benchmark's questions, without choices and few-shot examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.lib.data.conversation import Conversation
from scripts.lib.questions.rows import Row, read_rows


class QuestionText(NamedTuple):
    """What a question says.

    Attributes:
        id: As in the scores.
        subject: The subject that it belongs to, as in the scores.
        text: Its words.
    """

    id: str
    subject: str
    text: str


def rows_of(file: Path) -> list[Row]:
    """Return the rows of a file of questions; those that are none were left out of it."""
    return read_rows(file, lambda row: None)


def choice_texts(benchmark: Path) -> Iterator[tuple[str, int, Row]]:
    """Yield file stem, place and row of every multiple-choice question, file by file.

    Args:
        benchmark: Folder with `test/`.
    """
    for file in sorted((benchmark / "test").glob("*.jsonl")):
        for place, row in enumerate(rows_of(file)):
            yield file.stem, place, row


def last_user_turn(turns: Any) -> str:
    """Return what the user says last in turns with `role` and `content`; nothing without one."""
    said = [turn["content"] for turn in turns if turn["role"] == "user"]
    return str(said[-1]) if said else ""


def asked_in(conversation: Conversation) -> str:
    """Return what the user says last in a conversation; nothing where no user speaks."""
    turns = [{"role": turn.role, "content": turn.content} for turn in conversation.messages]
    return last_user_turn(turns)

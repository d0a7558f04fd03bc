"""Prompts whose answers are judged, read and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.question_rows import (
    QUESTIONS_FILE,
    Message,
    Row,
    is_text,
    messages_of,
    read_rows,
    turns_fault,
)


@dataclass(frozen=True)
class JudgedRow:
    """One prompt.

    Attributes:
        messages: The conversation up to the answer.
        reference: A good answer, or None.
        category: Its category, or None.
    """

    messages: Sequence[Message]
    reference: str | None
    category: str | None


def prompt_id(index: int) -> str:
    """Return the name of a prompt by its place in the file, from 0."""
    return f"prompts:{index}"


def read_judged_rows(benchmark: Path) -> list[JudgedRow]:
    """Read and check the prompts of a benchmark.

    Args:
        benchmark: Folder with `questions.jsonl`.

    Raises:
        ScoreError: The file is missing, empty, or a row is not in this form, with file and line.
    """
    rows = read_rows(benchmark / QUESTIONS_FILE, _fault)
    return [JudgedRow(messages_of(row), row.get("reference"), row.get("category")) for row in rows]


def _fault(row: Row) -> str | None:
    for key in ("reference", "category"):
        if row.get(key) is not None and not is_text(row[key]):
            return f"has something else than text in `{key}`"
    return turns_fault(row, chat_template=True)

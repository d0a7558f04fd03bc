"""The texts of held-out conversations that are asked: what the user says last."""

from collections.abc import Iterator
from pathlib import Path

from scripts.lib.contamination.texts import QuestionText, asked_in
from scripts.lib.questions.held_out_conversations import held_out_conversations


def texts(benchmark: Path, subject: str | None) -> Iterator[QuestionText]:
    """Yield the question of every held-out conversation.

    Args:
        benchmark: Folder of `format_chat`.
        subject: The split that is asked.
    """
    split = str(subject)
    for place, one in enumerate(held_out_conversations(benchmark, split)):
        yield QuestionText(f"{split}:{place}", split, asked_in(one))

"""A journal of finished questions, so that a stopped scoring job goes on where it was.

One file per block of questions, written beside its name and renamed, so that a file is whole or
absent. The folder belongs to one scoring identity: whoever calls keys it. As a second guard a
block is believed only when it answers exactly the prompts that are asked now.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.lib.questions.question import Answer, Question


def read_block(scratch: Path, block: Sequence[Question]) -> list[Answer] | None:
    """Return the journalled answers to a block, or None when it has to be asked."""
    try:
        text = _path(scratch, block).read_text(encoding="utf-8")
        answers: list[Answer] = [json.loads(line) for line in text.split("\n") if line]
    except (FileNotFoundError, ValueError):  # or what is there is neither UTF-8 nor JSON
        return None
    asked = [(question.id, question.prompt_hash) for question in block]
    known = [(answer["question_id"], answer["prompt_hash"]) for answer in answers]
    return answers if asked == known else None


def write_block(scratch: Path, block: Sequence[Question], answers: Sequence[Answer]) -> None:
    """Keep the answers to a block; the file appears at once or not at all."""
    scratch.mkdir(parents=True, exist_ok=True)
    path = _path(scratch, block)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(answer) + "\n" for answer in answers)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def answer_once(
    scratch: Path,
    block: Sequence[Question],
    answer: Callable[[Sequence[Question]], list[Answer]],
) -> tuple[list[Answer], bool]:
    """Return the answers to a block, from the journal if they are there, and whether they were.

    Args:
        scratch: Folder of the journal.
        block: What is asked.
        answer: Asks it; what it returns is kept.
    """
    known = read_block(scratch, block)
    if known is not None:
        return known, True
    found = answer(block)
    write_block(scratch, block, found)
    return found, False


def _path(scratch: Path, block: Sequence[Question]) -> Path:
    subject, _, index = block[0].id.rpartition(":")
    return scratch / f"{subject}.{int(index):06d}.jsonl"

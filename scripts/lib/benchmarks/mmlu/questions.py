"""MMLU's questions: four choices, of which the model finds one the most likely."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.errors import ScoreError
from scripts.lib.questions.choice_faults import MMLU_CHOICES, mmlu_fault
from scripts.lib.questions.choices import ask_choices, choice_task, read_splits
from scripts.lib.questions.question import Question
from scripts.lib.questions.rows import LETTERS, Row, is_subject
from scripts.lib.questions.spec import ScoreSpec

NEEDS_TEMPLATE = False
MORE_COLUMNS: tuple[pa.Field, ...] = ()


def questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int) -> Iterator[Question]:
    """Yield the questions of a subject.

    Args:
        spec: What to ask, and how.
        benchmark: Folder with `test/` and `dev/`.
        tokenizer: The tokenizer of the model that will be asked.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: No subject is asked for, or the benchmark is empty or malformed.
    """
    if not spec.subject:
        raise ScoreError(f"No subject of {benchmark} is asked for. Name one.")
    shots = spec.shots or 0
    test, dev = read_subject(benchmark, spec.subject, shots=shots, limit=spec.limit)
    task = mmlu_task(spec.subject, test, dev, shots=shots)
    yield from ask_choices(spec, [(spec.subject, spec.subject, task)], tokenizer)


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return nothing: the spec says all."""
    return {}


def read_subject(
    benchmark: Path, subject: str, *, shots: int, limit: int | None
) -> tuple[list[Row], list[Row]]:
    """Read and check the rows of one multiple-choice subject.

    Args:
        benchmark: Folder with `test/` and `dev/`.
        subject: File stem in both.
        shots: Few-shot examples that the prompt will show; that many dev rows must exist.
        limit: Only the first so many test rows, or None for all.

    Returns:
        Test rows and dev rows, each `{"question", "choices": [4], "answer": 0-3}`.

    Raises:
        ScoreError: A file is missing, empty or not in MMLU's form, with file and line.
    """
    if not is_subject(subject):
        raise ScoreError(
            f"The subject {subject!r} cannot be a file name. Use letters, digits, '_', '-', '.'."
        )
    return read_splits(benchmark, subject, mmlu_fault, shots=shots, limit=limit)


def mmlu_task(subject: str, test: Sequence[Row], dev: Sequence[Row], *, shots: int) -> Row:
    """Return lm-eval's task for one MMLU subject over rows that are already in memory.

    Args:
        subject: Its name; underscores become spaces in the prompt's first line.
        test: Rows to ask, from `read_subject`.
        dev: Rows to show as few-shot examples, the first `shots` in file order.
        shots: Number of few-shot examples.
    """
    about = subject.replace("_", " ")
    preamble = f"The following are multiple choice questions (with answers) about {about}.\n\n"
    choices = list(LETTERS[:MMLU_CHOICES])
    return choice_task(subject, preamble, choices, test, dev, shots=shots)

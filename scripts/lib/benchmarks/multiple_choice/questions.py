"""A user's own multiple-choice questions: any number of choices, and categories of its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.errors import ScoreError
from scripts.lib.questions.choice_faults import choice_fault
from scripts.lib.questions.choices import ask_choices, choice_task, read_splits
from scripts.lib.questions.question import Question
from scripts.lib.questions.rows import LETTERS, Row
from scripts.lib.questions.spec import ScoreSpec

NEEDS_TEMPLATE = False
MORE_COLUMNS: tuple[pa.Field, ...] = ()

# A set without categories has no subjects; its questions need a name all the same.
_ONLY_SUBJECT = "questions"


def questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int) -> Iterator[Question]:
    """Yield the questions of all categories.

    Args:
        spec: How to ask.
        benchmark: Folder with `test/` and, for few-shot examples, `dev/`.
        tokenizer: The tokenizer of the model that will be asked.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: The benchmark is empty or malformed.
    """
    shots = spec.shots or 0
    tasks = [
        (category or _ONLY_SUBJECT, stem, own_choice_task(stem, category, test, dev, shots=shots))
        for stem, category, test, dev in read_own_choices(benchmark, shots=shots, limit=spec.limit)
    ]
    yield from ask_choices(spec, tasks, tokenizer)


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return nothing: the spec says all."""
    return {}


def read_own_choices(
    benchmark: Path, *, shots: int, limit: int | None
) -> list[tuple[str, str | None, list[Row], list[Row]]]:
    """Read and check a user's own multiple-choice set.

    Args:
        benchmark: Folder with `test/` and, for few-shot examples, `dev/`.
        shots: Few-shot examples that the prompt will show.
        limit: Only the first so many questions of each category, or None for all.

    Returns:
        For every category the stem of its file, its name or None, test rows and dev rows.

    Raises:
        ScoreError: A file is missing, empty or not in this form, with file and line.
    """
    found = []
    for path in sorted((benchmark / "test").glob("*.jsonl")):
        test, dev = read_splits(benchmark, path.stem, choice_fault, shots=shots, limit=limit)
        found.append((path.stem, test[0].get("subject"), test, dev))
    if not found:
        raise ScoreError(f"{benchmark} holds no questions. Check the benchmark's source.")
    return found


def own_choice_task(
    name: str, category: str | None, test: Sequence[Row], dev: Sequence[Row], *, shots: int
) -> Row:
    """Return a task like MMLU's for one category of a user's own set.

    Args:
        name: A name for it.
        category: What the questions are about, or None to leave it unsaid.
        test: Rows to ask, from `read_own_choices`.
        dev: Rows to show as few-shot examples, the first `shots` in file order.
        shots: Number of few-shot examples.
    """
    about = "" if category is None else f" about {category}"
    preamble = f"The following are multiple choice questions (with answers){about}.\n\n"
    return choice_task(name, preamble, _letters, test, dev, shots=shots)


def _letters(doc: Row) -> list[str]:
    return list(LETTERS[: len(doc["choices"])])

"""The texts of the questions of lm-eval's tasks: without choices, examples and the task's frame."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.lm_eval.tasks import build_task, read_tasks
from scripts.lib.contamination.texts import QuestionText
from scripts.lib.questions.category_names import file_name

_FIRST_CHOICE = re.compile(r"\n\s*\(?A[.):]\s")
_ENOUGH_FOR_A_FRAME = 10
"""Questions of a task from which on words that all begin or end with are the task's."""


def texts(benchmark: Path, subject: str | None) -> Iterator[QuestionText]:
    """Yield every question of every task.

    A task that names what is to be looked for in training data (`doc_to_decontamination_query`) is
    taken at its word; of others it is the prompt up to the first choice, without the words that all
    prompts of the task begin or end with.

    Args:
        benchmark: Folder of fetched tasks.
        subject: None: all tasks are read.
    """
    for fetched in read_tasks(benchmark):
        name = fetched.leaf.name
        task = build_task(fetched, benchmark, shots=0)
        found = [_text(task, doc) for doc in task.eval_docs]
        if not _names_its_query(task):
            found = without_frame(found)
        for place, text in enumerate(found):
            yield QuestionText(f"{file_name(name)}:{place}", name, text)


def without_frame(found: Sequence[str]) -> list[str]:
    r"""Return texts without the words that all of them begin with, and all of them end with.

    Few texts may begin alike by chance, and stay as they are; so do texts of which nothing is left.

    Example: of `Question: Who?\nAnswer:` and others in this form, `Who?`.
    """
    split = [text.split() for text in found]
    if len(found) < _ENOUGH_FOR_A_FRAME:
        return list(found)
    begin = _alike(split)
    end = _alike([words[begin:][::-1] for words in split])
    if begin + end >= min(map(len, split)):
        return list(found)
    return [" ".join(words[begin : len(words) - end]) for words in split]


def _alike(texts_of_words: Sequence[Sequence[str]]) -> int:
    """Return how many first words all texts share."""
    count = 0
    for at_place in zip(*texts_of_words, strict=False):
        if len(set(at_place)) > 1:
            break
        count += 1
    return count


def _text(task: Any, doc: Mapping[str, Any]) -> str:
    if _names_its_query(task):
        query = task.config.doc_to_decontamination_query
        return str(query(doc) if callable(query) else doc[query])
    text = task.doc_to_text(doc)
    if isinstance(text, int):
        # What differs stands in front of what is scored: each choice makes a prompt of its own.
        text = task.doc_to_choice(doc)[0]
    return _FIRST_CHOICE.split(str(text))[0]


def _names_its_query(task: Any) -> bool:
    query = task.config.doc_to_decontamination_query
    return bool(task.config.should_decontaminate) and (callable(query) or query in task.features)

"""The questions of lm-eval's tasks, as a scoring job asks them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.benchmarks.lm_eval.task_questions import questions_of_task
from scripts.lib.benchmarks.lm_eval.tasks import build_task, read_tasks, stated_of
from scripts.lib.errors import ScoreError
from scripts.lib.questions.prompts import chat_renderer
from scripts.lib.questions.question import Question
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.score.files import TASKS

NEEDS_TEMPLATE = False
MORE_COLUMNS: tuple[pa.Field, ...] = ()


def questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int) -> Iterator[Question]:
    """Yield the questions of a task, or of all.

    Args:
        spec: What to ask, and how.
        benchmark: Folder of fetched tasks.
        tokenizer: The tokenizer of the model that will be asked.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: There is no such task, it asks nothing, or a prompt cannot be built.
    """
    chat = chat_renderer(tokenizer) if spec.chat_template else None
    wanted = [task for task in read_tasks(benchmark) if spec.subject in (None, task.leaf.name)]
    if not wanted:
        raise ScoreError(f"{benchmark} holds no task {spec.subject}. Fetch the benchmark again.")
    for fetched in wanted:
        task = build_task(fetched, benchmark, shots=spec.shots)
        yield from questions_of_task(task, fetched.leaf.name, limit=spec.limit, chat=chat)


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return what has to be said of each task beside its scores."""
    tasks = {question.subject: question.task for question in questions}
    return {TASKS: {name: stated_of(task) for name, task in tasks.items()}}

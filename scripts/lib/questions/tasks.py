"""Checked rows -> questions, by lm-eval's own task class.

All prompts are there, and measured against the model's context (`prompt_tokens`), before the model
is loaded: lm-eval itself cuts a long prompt from the left with only a warning.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from datasets import Dataset, DatasetDict
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from scripts.lib.questions.prompts import Chat
from scripts.lib.questions.question import Grader, Question
from scripts.lib.questions.rows import Row


def in_memory(splits: Mapping[str, list[dict[str, Any]]]) -> Callable[..., Any]:
    """Return what a task's config takes for its `custom_dataset`: rows that are in memory.

    Empty splits are left out.
    """

    def load(**_: object) -> Any:
        return DatasetDict({name: Dataset.from_list(docs) for name, docs in splits.items() if docs})

    return load


def ask(
    task_config: Row,
    subject: str,
    *,
    chat: Chat | None,
    grade: Grader,
    fits: Callable[[Question], bool] | None = None,
    stem: str | None = None,
) -> Iterator[Question]:
    """Yield the questions of one lm-eval task, in row order.

    Args:
        task_config: lm-eval's, over rows that are `in_memory`.
        subject: The subject that names the questions.
        chat: Renders a conversation (`prompts.Chat`), or None for plain text. Few-shot examples
            then become turns, which is lm-eval's default.
        grade: Turns the model's replies to a question into an answer.
        fits: Says whether a question may stay as it is; the last few-shot example is left out until
            it does, or none is left. None to leave every question as it is.
        stem: What the ids begin with, where the subject is no plain word.
    """
    task = ConfigurableTask(config=dict(task_config))
    make = functools.partial(_question, task, subject, stem or subject, grade, chat=chat)
    for index in range(len(task.eval_docs)):
        shots = task.config.num_fewshot
        question = make(index, shots=shots)
        while shots and fits and not fits(question):
            shots -= 1
            question = make(index, shots=shots)
        yield question


def _question(
    task: Any,
    subject: str,
    stem: str,
    grade: Grader,
    index: int,
    *,
    shots: int,
    chat: Chat | None,
) -> Question:
    doc = task.eval_docs[index]
    options = {"apply_chat_template": chat is not None, "chat_template": chat}
    prompt = task.fewshot_context(doc, num_fewshot=shots, fewshot_as_multiturn=True, **options)
    requests = task.construct_requests(doc=doc, ctx=prompt, metadata=(subject, index, 1), **options)
    return Question(
        id=f"{stem}:{index}",
        subject=subject,
        prompt=prompt,
        doc=doc,
        shots=shots,
        requests=(requests,) if isinstance(requests, Instance) else tuple(requests),
        task=task,
        grade=grade,
        closed=chat.closed(prompt) if chat else "",
    )

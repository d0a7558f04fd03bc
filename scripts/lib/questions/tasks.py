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

from scripts.lib.questions.question import ChatRenderer, Grader, Question
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
    chat: ChatRenderer | None,
    grade: Grader,
    stem: str | None = None,
) -> Iterator[Question]:
    """Yield the questions of one lm-eval task, in row order.

    Args:
        task_config: lm-eval's, over rows that are `in_memory`.
        subject: The subject that names the questions.
        chat: Renders a conversation (`prompts.Chat`), or None for plain text. Few-shot examples
            then become turns, which is lm-eval's default.
        grade: Turns the model's replies to a question into an answer.
        stem: What the ids begin with, where the subject is no plain word.
    """
    task = ConfigurableTask(config=dict(task_config))
    make = functools.partial(_question, task, subject, stem or subject, grade, chat=chat)
    # All rows at once: one by one each takes as long as its prompt.
    for index, doc in enumerate(task.eval_docs.to_list()):
        yield make(index, doc, shots=task.config.num_fewshot)


def _question(
    task: Any,
    subject: str,
    stem: str,
    grade: Grader,
    index: int,
    doc: Row,
    *,
    shots: int,
    chat: ChatRenderer | None,
) -> Question:
    options = {"apply_chat_template": chat is not None, "chat_template": chat}
    prompt = task.fewshot_context(doc, num_fewshot=shots, fewshot_as_multiturn=True, **options)
    requests = task.construct_requests(doc=doc, ctx=prompt, metadata=(subject, index, 1), **options)
    less = functools.partial(
        _question, task, subject, stem, grade, index, doc, shots=shots - 1, chat=chat
    )
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
        fewer=less if shots else None,
    )

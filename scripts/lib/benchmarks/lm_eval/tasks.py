"""lm-eval's tasks over rows that were fetched: their questions, and the values they give answers.

No network is needed, and the prompts are the same every time. `lm_eval.evaluator.evaluate` builds
all requests, lets the model answer, applies every filter, and hands each question's filtered
replies to the task. Here the same happens question by question. A filter sees one question at a
time, which is all that filters look at.
"""

import json
import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.registry import METRIC_REGISTRY
from lm_eval.config.task import TaskConfig
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks._factory import TaskFactory

from scripts.lib.benchmarks.lm_eval.layout import OWN_FOLDER, ROWS_FOLDER, TASKS_FILE
from scripts.lib.benchmarks.lm_eval.resolve import Leaf, reading
from scripts.lib.benchmarks.lm_eval.rows import read_rows
from scripts.lib.errors import ConfigError, ScoreError
from scripts.lib.questions.category_names import file_name
from scripts.lib.questions.question import ChatRenderer, Grader, Question


@dataclass(frozen=True)
class FetchedTask:
    """A task and the rows that it reads.

    Attributes:
        leaf: The task.
        rows: Folder of its rows below `rows/`.
        splits: Those that it reads.
    """

    leaf: Leaf
    rows: str
    splits: tuple[str, ...]


def read_tasks(benchmark: Path) -> list[FetchedTask]:
    """Return the tasks of a fetched benchmark, in order."""
    document = json.loads((benchmark / TASKS_FILE).read_text(encoding="utf-8"))
    own = benchmark / OWN_FOLDER
    with reading(benchmark):
        return [
            FetchedTask(Leaf.from_json(item, own), item["rows"], tuple(item["splits"]))
            for item in document["tasks"]
        ]


def described(leaf: Leaf, own: Path) -> TaskConfig:
    """Return the config of a task, read but not built.

    Raises:
        ConfigError: Its file could not be read when it was found.
    """
    if leaf.error:
        raise ConfigError(leaf.error)
    with reading(own.parent):
        config = TaskFactory()._load_full_config(leaf.entry(own), dict(leaf.overrides))
    for key in ("tag", "group", "task_list"):
        config.pop(key, None)
    return TaskConfig(**config)


def build_task(fetched: FetchedTask, benchmark: Path, *, shots: int | None) -> Any:
    """Return lm-eval's task, ready to be asked, as `simple_evaluate` prepares it.

    A task that fixes its shots at 0 keeps them, whatever *shots* says: its examples, if it has any,
    are part of its text.

    Args:
        fetched: One of `read_tasks`.
        benchmark: The folder that it is from.
        shots: Few-shot examples; None for the task's own number.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    rows = read_rows(benchmark / ROWS_FOLDER / fetched.rows, fetched.splits)
    own = benchmark / OWN_FOLDER
    # Some tasks shuffle what they show; lm-eval starts with these.
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)
    with reading(benchmark):
        task = TaskFactory().build(
            fetched.leaf.entry(own),
            overrides={**fetched.leaf.overrides, "custom_dataset": lambda **_: rows},
            registry={},
        )
    declared = task.config.num_fewshot
    if shots is not None and declared != 0:
        task.set_config("num_fewshot", shots)
    elif declared is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return task


def stated_of(task: Any) -> dict[str, Any]:
    """Return what has to be said of a task beside its scores."""
    return {
        "version": str(task.VERSION),
        "shots": task.config.num_fewshot,
        "output_type": task.OUTPUT_TYPE,
    }


def questions_of_task(
    task: Any, name: str, *, limit: int | None, chat: ChatRenderer | None, grade: Grader
) -> Iterator[Question]:
    """Yield the questions of one task.

    Args:
        task: lm-eval's, from `build_task`, not asked before: it draws few-shot examples in order.
        name: Its name.
        limit: Only the first so many, or None for all.
        chat: Renders a conversation; None for plain text.
        grade: Turns the replies to a question into an answer.

    Raises:
        ScoreError: It has none, or a prompt cannot be built.
    """
    number = -1
    for number, doc in enumerate(islice(task.eval_docs, limit)):
        try:
            yield _question(task, name, number, doc, chat, grade)
        except ScoreError:
            raise
        # The task's own code makes the prompt, from rows that anyone may have written.
        except Exception as error:
            raise ScoreError(
                f"lm-eval cannot build question {number} of the task {name}"
                f" ({type(error).__name__}: {error}). Check its rows, and whether there are enough"
                " for the few-shot examples."
            ) from error
    if number < 0:
        raise ScoreError(f"The task {name} asks nothing. Check its rows.")


def _question(
    task: Any,
    name: str,
    number: int,
    doc: Mapping[str, Any],
    chat: ChatRenderer | None,
    grade: Grader,
) -> Question:
    shots = task.config.num_fewshot
    options = {"apply_chat_template": chat is not None, "chat_template": chat}
    context = task.fewshot_context(
        doc,
        num_fewshot=shots,
        fewshot_as_multiturn=True,
        gen_prefix=task.doc_to_prefix(doc),
        **options,
    )
    metadata = (name, number, task.config.repeats)
    made = task.construct_requests(doc=doc, ctx=context, metadata=metadata, **options)
    requests: list[Instance] = [made] if isinstance(made, Instance) else list(made)
    return Question(
        id=f"{file_name(name)}:{number}",
        subject=name,
        # Not the context alone: what is asked for after it counts as much.
        prompt=json.dumps([request.args for request in requests], sort_keys=True, default=str),
        doc=doc,
        shots=shots,
        requests=tuple(request for request in requests for _ in range(request.repeats or 1)),
        task=task,
        grade=grade,
        # Choices that stand before what is scored have a prompt each.
        closed=chat.closed(context if isinstance(context, str) else context[0]) if chat else "",
    )


def values_of(question: Question, replies: Sequence[Any]) -> tuple[dict[str, Any], list[Instance]]:
    """Apply a task's filters to the replies to a question, and let it judge what they leave.

    Args:
        question: One of `questions_of_task`.
        replies: What was said to each of its requests.

    Returns:
        `metric,filter` -> value of every metric that is a mean over questions, None where that is
        no number; and the requests with the replies.
    """
    instances = _with_replies(question.requests, replies)
    for ensemble in question.task._filters:
        ensemble.apply(instances)
    values: dict[str, float | None] = {}
    barred = barred_metrics(question.task)
    for name in instances[0].filtered_resps:
        filtered = [instance.filtered_resps[name] for instance in instances]
        found = question.task.process_results(question.doc, filtered)
        for metric, value in found.items():
            if metric not in barred and isinstance(value, Real | np.bool_):
                number = float(value)
                values[f"{metric},{name}"] = number if math.isfinite(number) else None
    return values, instances


def _with_replies(requests: Sequence[Instance], replies: Sequence[Any]) -> list[Instance]:
    """Return each request once, with all that was said to it."""
    instances = list({id(request): request for request in requests}.values())
    for instance in instances:
        instance.resps, instance.filtered_resps = [], {}
    for request, reply in zip(requests, replies, strict=True):
        request.resps.append(reply)
    return instances


def barred_metrics(task: Any) -> dict[str, str]:
    """Return the metrics that cannot be compared question by question, each with the reason."""
    better = task.higher_is_better()
    barred = {}
    for name, aggregate in task.aggregation().items():
        if aggregate is not mean:
            barred[name] = "is no mean over questions"
        elif not better.get(name, True):
            barred[name] = "is better when lower"
    return barred


def unknown_metrics(config: Any) -> list[str]:
    """Return the metrics of a task's config that lm-eval cannot know how to sum up."""
    return [
        str(metric["metric"])
        for metric in config.metric_list or ()
        if isinstance(metric, Mapping)
        and isinstance(metric.get("metric"), str)
        and "aggregation" not in metric
        and metric["metric"] not in METRIC_REGISTRY
    ]


def check_metrics(task: Any) -> None:
    """Refuse a task of whose metrics none can be compared.

    Raises:
        ConfigError: With what is wrong with each.
    """
    barred: Mapping[str, str] = barred_metrics(task)
    if not set(task.aggregation()) - set(barred):
        faults = ", ".join(f"{name} {fault}" for name, fault in barred.items())
        raise ConfigError(f"has no metric that can be compared question by question: {faults}")

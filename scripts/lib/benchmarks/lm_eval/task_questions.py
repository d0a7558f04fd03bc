"""The questions of lm-eval's tasks, built and judged as `lm_eval.evaluator.evaluate` does it.

That one builds all requests, lets the model answer, applies every filter, and hands each question's
filtered replies to the task. Here the same happens question by question. A filter sees one question
at a time, which is all that filters look at.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance

from scripts.lib.benchmarks.lm_eval.metrics import barred_metrics
from scripts.lib.benchmarks.lm_eval.work_alarms import alarms_by_work
from scripts.lib.errors import ScoreError
from scripts.lib.questions.category_names import file_name
from scripts.lib.questions.question import Answer, Question


def questions_of_task(
    task: Any, name: str, *, limit: int | None, chat: Callable[..., str] | None
) -> Iterator[Question]:
    """Yield the questions of one task.

    Args:
        task: lm-eval's, from `build_task`, not asked before: it draws worked examples in order.
        name: Its name.
        limit: Only the first so many, or None for all.
        chat: Renders a conversation; None for plain text.

    Raises:
        ScoreError: It has none, or a prompt cannot be built.
    """
    number = -1
    for number, doc in enumerate(islice(task.eval_docs, limit)):
        try:
            yield _question(task, name, number, doc, chat)
        except ScoreError:
            raise
        # The task's own code makes the prompt, from rows that anyone may have written.
        except Exception as error:
            raise ScoreError(
                f"lm-eval cannot build question {number} of the task {name}"
                f" ({type(error).__name__}: {error}). Check its rows, and whether there are enough"
                " for the worked examples."
            ) from error
    if number < 0:
        raise ScoreError(f"The task {name} asks nothing. Check its rows.")


def judge_task(question: Question, replies: Sequence[Any]) -> Answer:
    """Return the answer with the values of all metrics that are means over questions.

    Args:
        question: One of `questions_of_task`.
        replies: What the model said to each of its requests.

    Raises:
        ScoreError: A log-likelihood is not a number.
    """
    for reply in replies:
        if math.isnan(_loglikelihood(reply)):
            raise ScoreError(
                f"The model's answer to {question.id} is not a number. Score it in float32; if "
                "that does not help, its weights are damaged: look at the run's verdict and merge "
                "proof."
            )
    instances = _with_replies(question.requests, replies)
    values = _judged(question, instances)
    first = next(iter(instances[0].filtered_resps))
    texts = [reply for reply in replies if isinstance(reply, str)]
    return {
        "question_id": question.id,
        "subject": question.subject,
        "prediction": _prediction(question.task, question.doc, instances, first),
        "answer": _expected(question.task, question.doc),
        "correct": next(iter(values.values()), None) == 1.0,
        "logprobs": None if texts else [_loglikelihood(reply) for reply in replies],
        "response": _response(texts),
        "prompt_hash": question.prompt_hash,
        "shots": question.shots,
        "metrics": json.dumps(values),
    }


def _judged(question: Question, instances: Sequence[Instance]) -> dict[str, float | None]:
    """Apply the task's filters, and return `_values`.

    Raises:
        ScoreError: The task's own code fails.
    """
    try:
        with alarms_by_work() as alarms:
            for ensemble in question.task._filters:
                ensemble.apply(instances)
            values = _values(question, instances)
    except Exception as error:
        raise ScoreError(
            f"lm-eval cannot judge the answer to {question.id} ({type(error).__name__}: {error})."
            " Check the task's filters and its process_results."
        ) from error
    if alarms.count:
        print(f"{question.id}: the task gave up judging, after too much work", file=sys.stderr)
    return values


def _values(question: Question, instances: Sequence[Instance]) -> dict[str, float | None]:
    """Return `metric,filter` -> value; None where that is not a number."""
    values: dict[str, float | None] = {}
    barred = barred_metrics(question.task)
    for name in instances[0].filtered_resps:
        filtered = [instance.filtered_resps[name] for instance in instances]
        found = question.task.process_results(question.doc, filtered)
        for metric, value in found.items():
            if metric not in barred and isinstance(value, Real | np.bool_):
                number = float(value)
                values[f"{metric},{name}"] = number if math.isfinite(number) else None
    return values


def _question(
    task: Any,
    name: str,
    number: int,
    doc: Mapping[str, Any],
    chat: Callable[..., str] | None,
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
        judge=judge_task,
    )


def _with_replies(requests: Sequence[Instance], replies: Sequence[Any]) -> list[Instance]:
    """Return each request once, with all that was said to it."""
    instances = list({id(request): request for request in requests}.values())
    for instance in instances:
        instance.resps, instance.filtered_resps = [], {}
    for request, reply in zip(requests, replies, strict=True):
        request.resps.append(reply)
    return instances


def _loglikelihood(reply: Any) -> float:
    if isinstance(reply, str):
        return 0.0
    return float(reply[0] if isinstance(reply, tuple | list) else reply)


def _expected(task: Any, doc: Any) -> str:
    """Return for people what is right, in the words of `_prediction`.

    A task names the right choice by its place or its text; where choices differ in what they go
    before (winogrande), its `doc_to_text` does.
    """
    if task.OUTPUT_TYPE != "multiple_choice":
        return str(task.doc_to_target(doc))
    choices = task.doc_to_choice(doc)
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    places = gold if isinstance(gold, list) else [gold]
    words = [
        str(choices[place]) if isinstance(place, int) and 0 <= place < len(choices) else str(place)
        for place in places
    ]
    return words[0] if len(words) == 1 else json.dumps(words, ensure_ascii=False)


def _prediction(task: Any, doc: Any, instances: Sequence[Instance], name: str) -> str:
    """Return for people what the model chose or said."""
    filtered = instances[0].filtered_resps[name]
    if task.OUTPUT_TYPE == "generate_until":
        return filtered if isinstance(filtered, str) else json.dumps(filtered, default=str)
    if task.OUTPUT_TYPE != "multiple_choice":
        return str(filtered)
    choices = task.doc_to_choice(doc)
    found = [_loglikelihood(i.filtered_resps[name]) for i in instances[: len(choices)]]
    return str(choices[found.index(max(found))])


def _response(texts: Sequence[str]) -> str | None:
    """Return what was generated: the text, or a list of texts as JSON."""
    if len(texts) < 2:
        return texts[0] if texts else None
    return json.dumps(texts, ensure_ascii=False)

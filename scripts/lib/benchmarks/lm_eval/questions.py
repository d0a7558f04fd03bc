"""The questions of lm-eval's tasks as a scoring job asks them, and the judgement of answers."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from lm_eval.api.instance import Instance

from scripts.lib.benchmarks.lm_eval.tasks import (
    build_task,
    questions_of_task,
    read_tasks,
    stated_of,
    values_of,
)
from scripts.lib.benchmarks.lm_eval.work_alarms import alarms_by_work
from scripts.lib.data.replies import whole_turn, without_reasoning
from scripts.lib.errors import ScoreError
from scripts.lib.questions.prompts import Chat
from scripts.lib.questions.question import Answer, Question, answer_row
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
    wanted = [task for task in read_tasks(benchmark) if spec.subject in (None, task.leaf.name)]
    if not wanted:
        raise ScoreError(f"{benchmark} holds no task {spec.subject}. Fetch the benchmark again.")
    for fetched in wanted:
        task = build_task(fetched, benchmark, shots=spec.shots)
        chat = None
        if spec.chat_template:
            scores = task.OUTPUT_TYPE != "generate_until"
            chat = Chat(tokenizer, spec.template_arguments, closes_thoughts=scores)
        yield from questions_of_task(
            task,
            fetched.leaf.name,
            limit=spec.limit,
            chat=chat,
            grade=grade_turn if spec.chat_template else grade_task,
        )


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return what has to be said of each task beside its scores."""
    tasks = {question.subject: question.task for question in questions}
    return {TASKS: {name: stated_of(task) for name, task in tasks.items()}}


def grade_task(question: Question, replies: Sequence[Any]) -> Answer:
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
    values, instances = _judged(question, replies)
    first = next(iter(instances[0].filtered_resps))
    texts = [reply for reply in replies if isinstance(reply, str)]
    return answer_row(
        question,
        prediction=_prediction(question.task, question.doc, instances, first),
        answer=_expected(question.task, question.doc),
        correct=next(iter(values.values()), None) == 1.0,
        logprobs=None if texts else [_loglikelihood(reply) for reply in replies],
        response=_response(texts),
        metrics=json.dumps(values),
    )


def grade_turn(question: Question, replies: Sequence[Any]) -> Answer:
    """Do what `grade_task` does for a question of a chat, of what stands behind a thought.

    As with `think_end_token` of lm-eval's models, whose tasks know nothing of thoughts.
    """
    prompt = question.requests[0].args[0]
    turns = [whole_turn(prompt, reply) for reply in replies if isinstance(reply, str)]
    if not turns:
        return grade_task(question, replies)
    answer = grade_task(question, [without_reasoning(turn) for turn in turns])
    return {**answer, "response": _response(turns)}


def _judged(
    question: Question, replies: Sequence[Any]
) -> tuple[dict[str, float | None], list[Instance]]:
    """Do what `values_of` does, whatever else the machine has to do.

    Raises:
        ScoreError: The task's own code fails.
    """
    try:
        with alarms_by_work() as alarms:
            found = values_of(question, replies)
    except Exception as error:
        raise ScoreError(
            f"lm-eval cannot judge the answer to {question.id} ({type(error).__name__}: {error})."
            " Check the task's filters and its process_results."
        ) from error
    if alarms.count:
        print(f"{question.id}: the task gave up judging, after too much work", file=sys.stderr)
    return found


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

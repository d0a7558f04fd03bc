"""The questions of each kind of benchmark, built from its folder in results/."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.errors import ScoreError
from scripts.lib.held_out_questions import held_out_questions
from scripts.lib.judged_questions import judged_questions
from scripts.lib.judging import judge_text
from scripts.lib.lm_eval_questions import questions_of_task
from scripts.lib.lm_eval_tasks import build_task, read_tasks, stated
from scripts.lib.prompt_tokens import tokens_needed
from scripts.lib.prompts import ask, chat_renderer, render
from scripts.lib.question_rows import Row, messages_of
from scripts.lib.questions import Question
from scripts.lib.score_spec import ScoreSpec
from scripts.lib.tasks import (
    exact_match_task,
    mmlu_task,
    own_choice_task,
    read_own_choices,
    read_questions,
    read_subject,
)
from scripts.lib.turn_ends import turn_end

# An exact-match benchmark has no subjects; its questions need a name all the same.
_ONLY_SUBJECT = "questions"


def questions_of(
    spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int
) -> Iterator[Question]:
    """Yield every question of a scoring job.

    Args:
        spec: What to ask, and how.
        benchmark: Folder with `test/` and `dev/`, with `questions.jsonl`, or of conversations.
        tokenizer: The tokenizer of the model that will be asked.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: The benchmark is empty or malformed.
    """
    if spec.kind == "held_out":
        yield from held_out_questions(spec, benchmark, tokenizer)
        return
    if spec.kind == "judged_pairs":
        yield from judged_questions(spec, benchmark, tokenizer)
        return
    if spec.kind == "exact_match":
        yield from _exact_match_questions(spec, benchmark, tokenizer)
        return
    if spec.kind == "lm_eval":
        chat = chat_renderer(tokenizer) if spec.chat_template else None
        for fetched in read_tasks(benchmark):
            task = build_task(fetched, benchmark, shots=spec.shots)
            yield from questions_of_task(task, fetched.leaf.name, limit=spec.limit, chat=chat)
        return
    chat = chat_renderer(tokenizer) if spec.chat_template else None
    fits = None
    if spec.on_long_prompt == "fewer_shots":
        fits = functools.partial(_fits, tokenizer, limit)
    for subject, stem, task in _choice_tasks(spec, benchmark):
        yield from ask(task, subject, chat=chat, fits=fits, stem=stem)


def stated_of(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return what has to be stated beside the scores and is not in the spec."""
    if spec.kind != "lm_eval":
        return {}
    tasks = {question.subject: question.task for question in questions}
    return {"tasks": {name: stated(task) for name, task in tasks.items()}}


def _choice_tasks(spec: ScoreSpec, benchmark: Path) -> list[tuple[str, str, Row]]:
    """Return subject, stem of the questions' ids, and task; all rows are read by then."""
    shots = spec.shots or 0
    if spec.kind == "multiple_choice":
        return [
            (
                category or _ONLY_SUBJECT,
                stem,
                own_choice_task(stem, category, test, dev, shots=shots),
            )
            for stem, category, test, dev in read_own_choices(
                benchmark, shots=shots, limit=spec.limit
            )
        ]
    if not spec.subjects:
        raise ScoreError(f"No subject of {benchmark} is asked for. Name at least one.")
    read = [
        (subject, *read_subject(benchmark, subject, shots=shots, limit=spec.limit))
        for subject in spec.subjects
    ]
    return [(name, name, mmlu_task(name, test, dev, shots=shots)) for name, test, dev in read]


def _fits(tokenizer: Any, limit: int, question: Question) -> bool:
    return tokens_needed(question, tokenizer) <= limit


def _exact_match_questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any) -> Iterator[Question]:
    if spec.shots or not spec.max_new_tokens:
        raise ScoreError(
            f"The exact-match benchmark in {benchmark} has no worked examples and needs room to "
            "answer. Set `shots: 0` and `max_new_tokens` to at least 1."
        )
    rows = read_questions(benchmark, chat_template=spec.chat_template, limit=spec.limit)
    prompts = [
        render(tokenizer, messages_of(row)) if spec.chat_template else str(row["prompt"])
        for row in rows
    ]
    task = exact_match_task(
        _ONLY_SUBJECT,
        prompts,
        [row["answer"] for row in rows],
        max_new_tokens=spec.max_new_tokens,
        until=turn_end(tokenizer) if spec.chat_template else "",
    )
    # The prompts carry their template already, so lm-eval gets them as plain text.
    yield from ask(task, _ONLY_SUBJECT, chat=None, judge=judge_text)

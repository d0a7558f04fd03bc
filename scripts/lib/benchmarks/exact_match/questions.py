"""Questions whose answer is generated greedily and compared with the expected one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.benchmarks.exact_match.rows import answer_fault
from scripts.lib.data.ends import answer_ends
from scripts.lib.data.replies import whole_turn, without_reasoning
from scripts.lib.errors import ScoreError
from scripts.lib.questions.prompts import render
from scripts.lib.questions.question import Answer, Question, answer_row
from scripts.lib.questions.rows import QUESTIONS_FILE, Row, messages_of, read_rows
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.questions.tasks import ask, in_memory

NEEDS_TEMPLATE = False
MORE_COLUMNS: tuple[pa.Field, ...] = ()

# There are no subjects; the questions need a name all the same.
_ONLY_SUBJECT = "questions"


def questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int) -> Iterator[Question]:
    """Yield the questions.

    Args:
        spec: How to ask.
        benchmark: Folder with `questions.jsonl`.
        tokenizer: The tokenizer of the model that will be asked.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: The benchmark is empty or malformed, or there is no room to answer.
    """
    if spec.shots or not spec.max_new_tokens:
        raise ScoreError(
            f"The exact-match benchmark in {benchmark} has no few-shot examples and needs room to "
            "answer. Set `shots: 0` and `max_new_tokens` to at least 1."
        )
    rows = _read(benchmark, chat_template=spec.chat_template, limit=spec.limit)
    prompts = [
        render(tokenizer, messages_of(row), spec.template_arguments)
        if spec.chat_template
        else str(row["prompt"])
        for row in rows
    ]
    task = _task(
        _ONLY_SUBJECT,
        prompts,
        [row["answer"] for row in rows],
        max_new_tokens=spec.max_new_tokens,
        until=answer_ends(tokenizer).texts if spec.chat_template else (),
    )
    # The prompts carry their template already, so lm-eval gets them as plain text.
    asked = ask(task, _ONLY_SUBJECT, chat=None, grade=_grade)
    for question, row in zip(asked, rows, strict=True):
        yield replace(question, data=row)


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return nothing: the spec says all."""
    return {}


def _read(benchmark: Path, *, chat_template: bool, limit: int | None) -> list[Row]:
    """Read and check the rows of an exact-match benchmark.

    Args:
        benchmark: Folder with `questions.jsonl`.
        chat_template: Whether prompts go through the chat template; rows of `messages`, or with a
            `system` text, need it.
        limit: Only the first so many rows, or None for all.

    Returns:
        Rows `{"answer": str}` with either `prompt` (and maybe `system`) or `messages`.

    Raises:
        ScoreError: The file is missing, empty, or a row is not in this form, with file and line.
    """
    fault = partial(answer_fault, chat_template=chat_template)
    return read_rows(benchmark / QUESTIONS_FILE, fault)[:limit]


def _task(
    name: str,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    max_new_tokens: int,
    until: Sequence[str],
) -> Row:
    """Return an lm-eval task that generates greedily and compares with the answer.

    Args:
        name: The benchmark's name.
        prompts: The exact texts that the model goes on with (template already applied).
        answers: The expected texts, one per prompt.
        max_new_tokens: Longest generation, in tokens.
        until: Texts that end a turn beside the tokenizer's end token.
    """
    docs = [{"prompt": p, "answer": a} for p, a in zip(prompts, answers, strict=True)]
    return {
        "task": name,
        "custom_dataset": in_memory({"test": docs}),
        "test_split": "test",
        "num_fewshot": 0,
        "output_type": "generate_until",
        "doc_to_text": _prompt,
        "doc_to_target": _answer,
        "generation_kwargs": {
            "until": list(until),
            "max_gen_toks": max_new_tokens,
            "do_sample": False,
        },
        "process_results": _exact_match,
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }


def _grade(question: Question, replies: Sequence[str]) -> Answer:
    """Return the answer that was generated for a question, compared word for word."""
    (reply,) = replies
    turn = whole_turn(question.prompt, reply)
    said = without_reasoning(turn)
    return answer_row(
        question,
        prediction=said.strip(),
        answer=question.doc["answer"].strip(),
        correct=bool(question.task.process_results(question.doc, [said])["exact_match"]),
        response=turn,
    )


def _prompt(doc: Row) -> str:
    return str(doc["prompt"])


def _answer(doc: Row) -> str:
    return str(doc["answer"])


def _exact_match(doc: Row, responses: Sequence[str]) -> dict[str, float]:
    return {"exact_match": float(responses[0].strip() == doc["answer"].strip())}

"""The prompts of judged pairs, as the models that answer see them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.data.renderer import Renderer
from scripts.lib.data.templates import resolve_template
from scripts.lib.data.turns import prompt_of
from scripts.lib.errors import ScoreError
from scripts.lib.judge.rows import FILE_SUBJECT, JudgedRow, read_judged_rows
from scripts.lib.questions.prompts import render
from scripts.lib.questions.question import Answer, Question, answer_row
from scripts.lib.questions.requests import GreedyAnswer, GreedyRequest
from scripts.lib.questions.spec import ScoreSpec

NEEDS_TEMPLATE = True
MORE_COLUMNS: tuple[pa.Field, ...] = (pa.field("ended", pa.bool_()),)


class _Said(Answer):
    """An answer, and whether it ended before the limit."""

    ended: bool


def questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int) -> Iterator[Question]:
    """Yield every prompt of a benchmark of judged pairs.

    Args:
        spec: What to ask, and how; its subject is the split, where a dataset is asked.
        benchmark: Folder with `questions.jsonl`, or of `format_chat`.
        tokenizer: The tokenizer of the model that will answer, with a chat template.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: The benchmark is empty or malformed, or leaves no room to answer.
        TemplateError: The template refuses a conversation of a dataset.
    """
    if not spec.max_new_tokens:
        raise ScoreError(f"The prompts in {benchmark} need room to answer. Set `max_new_tokens`.")
    split = spec.subject
    rows = read_judged_rows(benchmark, split, spec.template_arguments)[: spec.limit]
    for row, prompt in zip(rows, _prompts(spec, rows, tokenizer), strict=True):
        yield Question(
            id=row.id,
            subject=split or FILE_SUBJECT,
            prompt=prompt,
            doc={},
            shots=0,
            requests=(GreedyRequest(prompt, spec.max_new_tokens),),
            task=None,
            grade=_answer,
        )


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return nothing: the spec says all."""
    return {}


def _prompts(spec: ScoreSpec, rows: Sequence[JudgedRow], tokenizer: Any) -> Iterator[str]:
    """Yield what the model is given: of a dataset's conversations, what training shows it."""
    if spec.subject is None:
        yield from (render(tokenizer, row.messages, spec.template_arguments) for row in rows)
        return
    renderer = Renderer(tokenizer, resolve_template("tokenizer", tokenizer))
    for row in rows:
        if row.conversation is not None:
            yield prompt_of(renderer, row.conversation, len(row.conversation.messages) - 1)


def _answer(question: Question, replies: Sequence[GreedyAnswer]) -> _Said:
    """Return what the model said; whether that is any good is for others to say."""
    (said,) = replies
    row = answer_row(
        question, prediction=said.text.strip(), answer="", correct=False, response=said.text
    )
    return {**row, "ended": said.ended}

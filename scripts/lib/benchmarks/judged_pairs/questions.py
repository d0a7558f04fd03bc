"""The prompts of judged pairs, as the models that answer see them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.data.records import UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.templates import resolve_template
from scripts.lib.data.turns import checked_prompt
from scripts.lib.errors import ScoreError, TemplateError
from scripts.lib.judge.rows import FILE_SUBJECT, JudgedRow, read_judged_rows
from scripts.lib.questions.held_out_conversations import why_unasked
from scripts.lib.questions.prompts import render
from scripts.lib.questions.question import Answer, Question, Unasked, answer_row
from scripts.lib.questions.requests import GreedyAnswer, GreedyRequest
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.score.reasoning import whole_turn, without_reasoning

NEEDS_TEMPLATE = True
MORE_COLUMNS: tuple[pa.Field, ...] = (pa.field("ended", pa.bool_()),)


class _Said(Answer):
    """An answer, and whether it ended before the limit."""

    ended: bool


def questions(
    spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int
) -> Iterator[Question | Unasked]:
    """Yield every prompt of a benchmark of judged pairs.

    Args:
        spec: What to ask, and how; its subject is the split, where a dataset is asked.
        benchmark: Folder with `questions.jsonl`, or of `format_chat`.
        tokenizer: The tokenizer of the model that will answer, with a chat template.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: The benchmark is empty or malformed, leaves no room to answer, or the template
            can ask nothing of it.
    """
    if not spec.max_new_tokens:
        raise ScoreError(f"The prompts in {benchmark} need room to answer. Set `max_new_tokens`.")
    split = spec.subject
    rows = read_judged_rows(benchmark, split, spec.template_arguments)[: spec.limit]
    asked_any = False
    for row, prompt in zip(rows, _prompts(spec, rows, tokenizer), strict=True):
        if isinstance(prompt, Unasked):
            yield prompt
            continue
        asked_any = True
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
    if not asked_any:
        raise ScoreError(
            f"No prompt of {benchmark} can be asked through this chat template. Give the runs"
            " another `template`, or leave this benchmark out for such models."
        )


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return nothing: the spec says all."""
    return {}


def _prompts(spec: ScoreSpec, rows: Sequence[JudgedRow], tokenizer: Any) -> Iterator[str | Unasked]:
    """Yield what the model is given: of a dataset's conversations, what training shows it."""
    if spec.subject is None:
        yield from (render(tokenizer, row.messages, spec.template_arguments) for row in rows)
        return
    renderer = Renderer(tokenizer, resolve_template("tokenizer", tokenizer))
    for row in rows:
        if row.conversation is not None:
            last = len(row.conversation.messages) - 1
            try:
                yield checked_prompt(renderer, row.conversation, last)
            except (UnusableRow, TemplateError) as error:
                yield Unasked(row.id, why_unasked(row.id, error))


def _answer(question: Question, replies: Sequence[GreedyAnswer]) -> _Said:
    """Return what the model said; whether that is any good is for others to say."""
    (said,) = replies
    turn = whole_turn(question.prompt, said.text)
    prediction = without_reasoning(turn).strip()
    row = answer_row(question, prediction=prediction, answer="", correct=False, response=turn)
    return {**row, "ended": said.ended}

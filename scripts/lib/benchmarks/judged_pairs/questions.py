"""The prompts of judged pairs, as the models that answer see them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from scripts.lib.data.conversation import Conversation
from scripts.lib.data.encoding import Encoder, hidden
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.replies import whole_turn, without_reasoning
from scripts.lib.data.templates import resolve_template
from scripts.lib.data.turns import checked_prompt
from scripts.lib.errors import ScoreError, TemplateError
from scripts.lib.judge.rows import FILE_SUBJECT, JudgedRow, read_judged_rows
from scripts.lib.questions.held_out_conversations import why_unasked
from scripts.lib.questions.prompts import render
from scripts.lib.questions.question import Answer, Question, Unasked, answer_row
from scripts.lib.questions.requests import GreedyAnswer, GreedyRequest
from scripts.lib.questions.spec import ScoreSpec

NEEDS_TEMPLATE = True
MORE_COLUMNS: tuple[pa.Field, ...] = (pa.field("ended", pa.bool_()),)


_Given: TypeAlias = Conversation | Sequence[Mapping[str, Any]]
"""What is asked: a conversation of a dataset, or the turns of a file's row."""


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
    for row, request in zip(rows, _requests(spec, rows, tokenizer), strict=True):
        if isinstance(request, Unasked):
            yield request
            continue
        asked_any = True
        yield Question(
            id=row.id,
            subject=split or FILE_SUBJECT,
            prompt=request.prompt,
            doc={},
            shots=0,
            requests=(request,),
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


def _requests(
    spec: ScoreSpec, rows: Sequence[JudgedRow], tokenizer: Any
) -> Iterator[GreedyRequest | Unasked]:
    """Yield what the model is given: of a dataset's conversations, what training shows it.

    Text in the data that spells control tokens stays text, as in training.
    """
    renderer = Renderer(tokenizer, resolve_template("tokenizer", tokenizer))
    # A slow tokenizer cannot say where its tokens stand: it reads prompts as they are.
    encoder = Encoder(tokenizer) if tokenizer.is_fast else None
    longest = spec.max_new_tokens or 0
    for row in rows:
        given = row.conversation or row.messages
        try:
            prompt = _prompt(spec, renderer, given)
            read = None
            if encoder and (veiled := _veiled(encoder, given)):
                twin = _prompt(spec, renderer, veiled)
                read = tuple(encoder.encode_data(prompt, twin).ids)
            yield GreedyRequest(prompt, longest, read)
        except (UnusableRow, TemplateError) as error:
            yield Unasked(row.id, why_unasked(row.id, error))


def _veiled(encoder: Encoder, given: _Given) -> _Given | None:
    """Return what is asked with the text of control tokens hidden; None where it has none."""
    if isinstance(given, Conversation):
        spells = encoder.has_control_text(given)
        return hidden(given, encoder.with_placeholders) if spells else None
    found: list[Mapping[str, Any]] = encoder.with_placeholders(given)
    return found if found != list(given) else None


def _prompt(spec: ScoreSpec, renderer: Renderer, given: _Given) -> str:
    if isinstance(given, Conversation):
        return checked_prompt(renderer, given, len(given.messages) - 1)
    return render(renderer.tokenizer, given, spec.template_arguments)


def _answer(question: Question, replies: Sequence[GreedyAnswer]) -> _Said:
    """Return what the model said; whether that is any good is for others to say."""
    (said,) = replies
    turn = whole_turn(question.prompt, said.text)
    prediction = without_reasoning(turn).strip()
    row = answer_row(question, prediction=prediction, answer="", correct=False, response=turn)
    return {**row, "ended": said.ended}

"""Held-out conversations -> questions: how likely the answer is, and what the model says itself.

Prompts, tokens and the end of the turn are those that training sees: both come from the same
rendering, and the mask of a trained last turn says which tokens are the answer.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.data.conversation import Conversation
from scripts.lib.data.encoding import Encoder, hidden
from scripts.lib.data.masking import loss_mask
from scripts.lib.data.reasoning import said
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.replies import whole_turn, without_reasoning
from scripts.lib.data.templates import resolve_template
from scripts.lib.data.turns import AskedTurn, asked_turn
from scripts.lib.errors import ScoreError, TemplateError
from scripts.lib.questions.held_out_conversations import held_out_conversations, why_unasked
from scripts.lib.questions.question import Answer, Question, Unasked, answer_row
from scripts.lib.questions.requests import GreedyAnswer, GreedyRequest, ReferenceRequest
from scripts.lib.questions.spec import ScoreSpec

NEEDS_TEMPLATE = True
MORE_COLUMNS: tuple[pa.Field, ...] = (
    pa.field("reference_tokens", pa.int64()),
    pa.field("response_tokens", pa.int64()),
    pa.field("ended", pa.bool_()),
    pa.field("markers", pa.list_(pa.string())),
)

# Words that no template changes; what stands between them is the template's own.
_PROBES = ("tunesmith1", "tunesmith2", "tunesmith3", "tunesmith4")


class HeldOutAnswer(Answer):
    """What became of one conversation; more columns of `questions.parquet`.

    `logprobs` holds the log-probability of the reference answer with the end of its turn, in nats.
    """

    reference_tokens: int
    response_tokens: int
    ended: bool
    markers: list[str]


def questions(
    spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int
) -> Iterator[Question | Unasked]:
    """Yield a question for every held-out conversation that the assistant ends.

    Args:
        spec: What to ask; its subject is the split.
        benchmark: Folder of `format_chat`.
        tokenizer: The tokenizer of the model that will be asked.
        limit: How many tokens that model reads.

    Raises:
        ScoreError: There is no such conversation, or the template can ask for none.
        TemplateError: There is no template or no fast tokenizer.
    """
    split = spec.subject or ""
    renderer = Renderer(tokenizer, resolve_template("tokenizer", tokenizer))
    encoder = Encoder(tokenizer)
    markers = template_markers(renderer)
    conversations = held_out_conversations(benchmark, split, spec.template_arguments)
    unasked: Counter[str] = Counter()
    asked_any = False
    for index, conversation in enumerate(islice(conversations, spec.limit)):
        id_ = f"{split}:{index}"
        try:
            last = len(conversation.messages) - 1
            asked = asked_turn(renderer, conversation, last, None)
            twin = None
            if encoder.has_control_text(conversation):
                veiled = hidden(conversation, encoder.with_placeholders)
                twin = asked_turn(renderer, veiled, last, None)
            reference = _tokens(encoder, asked, twin)
            read = encoder.encode_data(asked.prompt, twin.prompt).ids if twin else None
        except (UnusableRow, TemplateError) as error:
            unasked[reason := why_unasked(id_, error)] += 1
            yield Unasked(id_, reason)
            continue
        asked_any = True
        yield Question(
            id=id_,
            subject=split,
            prompt=asked.prompt,
            doc={"answer": _said(conversation, asked)},
            shots=0,
            requests=(reference, _request(spec, asked.prompt, read)),
            task=None,
            grade=partial(_grade, markers),
        )
    if not asked_any:
        reasons = ", ".join(f"{reason} {count}" for reason, count in unasked.items())
        raise ScoreError(
            f"No held-out conversation of {benchmark} can be asked through this chat template"
            f" ({reasons}). Give the runs another `template`, or leave this benchmark out for such"
            " models."
        )


def stated(spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
    """Return nothing: the spec says all."""
    return {}


def template_markers(renderer: Renderer) -> tuple[str, ...]:
    """Return what a template writes around turns and no answer should hold.

    That is every control token, and each line that stands between the turns of a conversation.
    Example: `<|im_end|>`, `<|im_start|>assistant` and others for ChatML; `### Response:` elsewhere.
    """
    special = {token.content for token in _special_tokens(renderer.tokenizer)}
    turns = [
        {"role": role, "content": word}
        for role, word in zip(("user", "assistant") * 2, _PROBES, strict=True)
    ]
    try:
        text = renderer.render(turns)
    except TemplateError:  # it may want other turns; its control tokens are known all the same
        return tuple(sorted(special))
    _, *between = re.split("|".join(_PROBES), text)
    lines = {line.strip() for part in between for line in part.splitlines()}
    return tuple(sorted(special | {line for line in lines if re.search(r"\w", line)}))


def _special_tokens(tokenizer: Any) -> list[Any]:
    return [token for token in tokenizer.added_tokens_decoder.values() if token.special]


def _request(spec: ScoreSpec, prompt: str, read: list[int] | None) -> GreedyRequest:
    return GreedyRequest(prompt, spec.max_new_tokens or 0, None if read is None else tuple(read))


def _tokens(encoder: Encoder, asked: AskedTurn, twin: AskedTurn | None) -> ReferenceRequest:
    """Return the tokens up to a turn, and of it.

    Args:
        encoder: The tokenizer.
        asked: The turn.
        twin: The same with the text of control tokens hidden, where the data holds any.
    """
    (encoded,) = encoder.encode([asked.text])
    if twin:
        encoded = encoder.encode_data(asked.text, twin.text)
    span = (len(asked.prompt), len(asked.text))
    mask = loss_mask(encoded, asked.text, [span], encoder.special_ids).mask
    if not any(mask):
        raise UnusableRow("nothing_to_train_on", "the template renders no token of the last answer")
    first = mask.index(1)
    ids = encoded.ids[: first + sum(mask)]
    return ReferenceRequest(tuple(ids[:first]), tuple(ids[first:]))


def _said(conversation: Conversation, asked: AskedTurn) -> str:
    """Return the reference answer: its words, or the rendering of its tool calls."""
    answer = conversation.messages[-1]
    return asked.written + asked.behind if answer.tool_calls else said(answer).answer


def _grade(markers: Sequence[str], question: Question, replies: Sequence[Any]) -> HeldOutAnswer:
    """Keep all that adherence is told from later, without a model."""
    logprob: float = replies[0]
    said: GreedyAnswer = replies[1]
    if not math.isfinite(logprob):
        raise ScoreError(
            f"The model's log-probability of {question.id} is no finite number. Score it in"
            " float32; if that does not help, its weights are damaged: look at the run's verdict"
            " and merge proof."
        )
    answer = question.doc["answer"]
    turn = whole_turn(question.prompt, said.text)
    prediction = without_reasoning(turn).strip()
    row = answer_row(
        question,
        prediction=prediction,
        answer=answer,
        correct=prediction == without_reasoning(answer).strip(),
        logprobs=[logprob],
        response=turn,
    )
    return {
        **row,
        "reference_tokens": len(question.requests[0].answer),
        "response_tokens": said.tokens,
        "ended": said.ended,
        "markers": list(markers),
    }

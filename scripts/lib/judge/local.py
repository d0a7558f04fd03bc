"""A local model as judge: it weighs the three verdicts and generates nothing.

Which of `A`, `B` and `C` the model finds likeliest after the prompt is its verdict: no sampling,
one forward pass for each order of the answers, and never an unreadable reply.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from scripts.lib.data.templates import OWN, TemplateSpec, own_template
from scripts.lib.errors import ScoreError
from scripts.lib.judge.files import Reply
from scripts.lib.judge.prompt import VERDICTS, Pair, judge_prompts
from scripts.lib.progress import note
from scripts.lib.questions.prompt_tokens import (
    context_limit,
    encode_questions,
    tokens_needed,
)
from scripts.lib.questions.prompts import Chat, load_tokenizer
from scripts.lib.questions.question import Answer, Question, answer_row
from scripts.lib.questions.text_encoder import TextEncoder
from scripts.lib.score.journal import answer_once
from scripts.lib.score.respondent import Loading, Respondent

# Prompts between two entries of the journal; even, so that a pair's two orders, which begin alike,
# are read together.
_BLOCK_PROMPTS = 64


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """What decides the bytes of a local judge's judgements, beside the model and the answers.

    Attributes:
        criteria: What the judge is told to look at; None for the default text.
        dtype: Precision of its weights and arithmetic.
        template: The chat template that it is asked through; `tokenizer` for its own.
    """

    criteria: str | None
    dtype: str
    template: TemplateSpec = OWN


def judge_locally(
    spec: JudgeSpec, pairs: Sequence[Pair], model: Path, *, batch_size: int, scratch: Path
) -> dict[str, tuple[Reply, Reply]]:
    """Return prompt -> the replies with the base's answer first and with the run's.

    Args:
        spec: How to judge.
        pairs: What to judge; equal answers are not.
        model: Hugging Face model folder of the judge.
        batch_size: Most sequences per forward pass where they are not packed by tokens; 0 for as
            many as memory holds.
        scratch: Folder of this identity for the journal.

    Raises:
        ScoreError: The judge has no chat template, a pair is longer than it can read (both before
            it is loaded), or its output is not a number.
    """
    asked = [pair for pair in pairs if not pair.equal]
    if not asked:
        return {}
    tokenizer = load_tokenizer(model, chat_template=False, template=spec.template)
    if not own_template(tokenizer):
        raise ScoreError(
            f"The judge in {model} has no chat template, so it cannot be asked. Name a chat model"
            " as judge.model, or give this one a template, `models.NAME.template`."
        )
    context = context_limit(tokenizer, model)
    questions = list(_questions(spec, asked, tokenizer))
    texts = TextEncoder(tokenizer)
    encode_questions(questions, texts, asked=True)
    _check_lengths(asked, questions, texts, context)
    loading = Loading(
        model=model,
        adapter=None,
        tokenizer=tokenizer,
        dtype=spec.dtype,
        batch_size=batch_size,
        ends=(),
        context=context,
        texts=texts,
    )
    replies = _ask(questions, Respondent("shared-prefix", loading), scratch)
    return {pair.id: (replies[2 * at], replies[2 * at + 1]) for at, pair in enumerate(asked)}


def _questions(spec: JudgeSpec, pairs: Sequence[Pair], tokenizer: Any) -> list[Question]:
    texts = [text for pair in pairs for text in judge_prompts(pair, spec.criteria)]
    # A verdict is weighed right behind the prompt.
    chat = Chat(tokenizer, closes_thoughts=True)
    return [_question(at, chat(_turn(text))) for at, text in enumerate(texts)]


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _question(at: int, prompt: str) -> Question:
    doc: Mapping[str, Any] = {}
    requests = tuple(
        Instance(request_type="loglikelihood", doc={}, arguments=(prompt, letter), idx=place)
        for place, letter in enumerate(VERDICTS)
    )
    return Question(
        id=f"judged:{at}",
        subject="judged",
        prompt=prompt,
        doc=doc,
        shots=0,
        requests=requests,
        task=None,
        grade=_likeliest,
    )


def _likeliest(question: Question, replies: Sequence[tuple[float, bool]]) -> Answer:
    """Return the verdict with the largest log-probability (nats)."""
    logprobs = [logprob for logprob, _ in replies]
    if any(math.isnan(logprob) for logprob in logprobs):
        raise ScoreError(
            "The judge's output is not a number. Set dtype: float32 for this benchmark; if that"
            " does not help, the judge's weights are damaged."
        )
    likeliest = VERDICTS[logprobs.index(max(logprobs))]
    return answer_row(question, prediction=likeliest, answer="", correct=False, logprobs=logprobs)


def _check_lengths(
    pairs: Sequence[Pair], questions: Sequence[Question], texts: TextEncoder, context: int
) -> None:
    for at, question in enumerate(questions):
        needed = tokens_needed(question, texts)
        if needed > context:
            raise ScoreError(
                f"The judge reads {context} tokens, but {pairs[at // 2].id} with both its answers"
                f" needs {needed}. Name a judge that reads more, or lower max_new_tokens."
            )


def _ask(questions: Sequence[Question], judge: Respondent, scratch: Path) -> list[Reply]:
    answers: list[Answer] = []
    for start in range(0, len(questions), _BLOCK_PROMPTS):
        block = questions[start : start + _BLOCK_PROMPTS]
        answers += answer_once(scratch, block, judge.answer)[0]
        text = f"{len(answers):,} of {len(questions):,} judged"
        print(text, file=sys.stderr, flush=True)
        note(text, last=len(answers) == len(questions))
    return [Reply(a["prediction"], tuple(a["logprobs"] or ())) for a in answers]

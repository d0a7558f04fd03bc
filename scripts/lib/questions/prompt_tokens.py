"""The tokens that a model reads for a question: counted, held against its context, and hashed."""

import hashlib
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS
from lm_eval.models.utils import normalize_gen_kwargs, resolve_max_length
from transformers import AutoConfig

from scripts.lib.errors import ScoreError
from scripts.lib.questions.question import Question
from scripts.lib.questions.requests import GreedyRequest, ReferenceRequest
from scripts.lib.questions.rows import Row
from scripts.lib.questions.text_encoder import TextEncoder

HASH_DIGITS = 16


def context_limit(tokenizer: Any, model: Path) -> int:
    """Return how many tokens the model reads, as lm-eval's `hf` model finds it."""
    config = AutoConfig.from_pretrained(str(model), trust_remote_code=False)
    return int(resolve_max_length(config, tokenizer))


def encode_questions(questions: Sequence[Question], texts: TextEncoder, *, asked: bool) -> None:
    """Encode the texts of questions, in batches; what comes after finds them encoded.

    Args:
        questions: The questions.
        texts: Encodes them and keeps them.
        asked: Whether the model will ask *texts* for what it reads. If not, only what is measured
            here is encoded.
    """
    pairs, alone = list[tuple[str, str]](), list[tuple[str, bool]]()
    for question in questions:
        if _weighs_choices(question):
            weighed = _all_pairs(question) if asked else _pairs(question)
            pairs += [pair for pair in weighed if pair[0]]
        alone += _alone(question, texts)
    texts.encode(pairs=pairs, texts=alone)


def check_lengths(questions: Sequence[Question], texts: TextEncoder, limit: int) -> list[str]:
    """Refuse a question that does not fit into the model's context, answer included.

    Returns:
        For each question the hash of its prompt's tokens: equal texts have equal ones only where
        they are read alike.

    Raises:
        ScoreError: Names the first such question, its length and the limit, in tokens; or the
            tokenizer adds an end to every text.
    """
    hashes = []
    for question in questions:
        read = _read(question, texts)
        needed = _needed(question, read)
        if needed > limit:
            remedy = "Lower `max_new_tokens`, if it has one"
            if question.shots:
                remedy = "Lower `shots`, or set `on_long_prompt: fewer_shots`"
            elif isinstance(question.requests[-1], GreedyRequest):
                remedy = "Lower `max_new_tokens`, or set `on_long_prompt: leave_out`"
            raise ScoreError(
                f"Question {question.id} needs {needed} tokens with its answer and "
                f"{question.shots} few-shot examples, but the model reads {limit}. {remedy}; or"
                " leave the question out."
            )
        hashes.append(_hash(read))
    return hashes


def with_fewer_shots(
    questions: Sequence[Question], texts: TextEncoder, limit: int, *, asked: bool
) -> list[Question]:
    """Leave the last few-shot example out of a question until it fits, or none is left.

    Args:
        questions: The questions.
        texts: Encodes them and keeps them.
        limit: How many tokens the model reads.
        asked: As for `encode_questions`.
    """
    found = list(questions)
    places = list(range(len(found)))
    while places:
        encode_questions([found[at] for at in places], texts, asked=asked)
        places = [
            at for at in places if found[at].fewer and tokens_needed(found[at], texts) > limit
        ]
        for at in places:
            if fewer := found[at].fewer:
                found[at] = fewer()
    return found


def tokens_needed(question: Question, texts: TextEncoder) -> int:
    """Return how long the model's input becomes, counted as lm-eval's `hf` model counts.

    A text of which every token counts (`loglikelihood_rolling`) is read in windows: it always fits.

    Raises:
        ScoreError: The tokenizer adds an end to every text.
    """
    return _needed(question, _read(question, texts))


def answer_tokens(options: Row) -> int:
    """Return the longest answer in tokens that lm-eval's `hf` model generates."""
    return int(normalize_gen_kwargs(dict(options), DEFAULT_MAX_GEN_TOKS)["max_gen_toks"])


def _read(question: Question, texts: TextEncoder) -> list[Sequence[int]]:
    """Return the tokens of each text that is read for a question, each text once.

    Raises:
        ScoreError: The tokenizer adds an end to every text.
    """
    last = question.requests[-1]
    if isinstance(last, GreedyRequest) and last.tokens is not None:
        return [last.tokens]
    if not _weighs_choices(question):
        found = {text: texts.text(text, opened=opened) for text, opened in _alone(question, texts)}
    else:
        found = {
            context + choice: texts.pair(context, choice).whole
            if context
            else texts.text(choice, opened=texts.opens(choice))
            for context, choice in _pairs(question)
        }
    if question.requests[0].request_type in ("loglikelihood", "generate_until"):
        for text, tokens in found.items():
            _check_end(texts, text, tokens)
    return list(found.values())


def _weighs_choices(question: Question) -> bool:
    return bool(question.requests[0].request_type == "loglikelihood")


def _all_pairs(question: Question) -> list[tuple[str, str]]:
    """Return each context with each of its choices."""
    return list(dict.fromkeys((r.args[0], r.args[1]) for r in question.requests))


def _pairs(question: Question) -> list[tuple[str, str]]:
    """Return the contexts and choices of a question that are measured.

    Of choices that are letters one stands for all.
    """
    pairs = _all_pairs(question)
    if len({context for context, _ in pairs}) == 1 and all(len(c.strip()) == 1 for _, c in pairs):
        return pairs[:1]
    return pairs


def _alone(question: Question, texts: TextEncoder) -> list[tuple[str, bool]]:
    """Return the texts that are encoded by themselves, and whether something is added to them."""
    kind = question.requests[0].request_type
    last = question.requests[-1]
    if isinstance(last, GreedyRequest):
        # A rendered prompt is encoded as it is.
        return [] if last.tokens is not None else [(last.prompt, False)]
    if kind == "loglikelihood_rolling":
        return [(request.args[0], False) for request in question.requests]
    if kind == "loglikelihood":
        # An empty context is no text: lm-eval puts one token in its place.
        wanted = [choice for context, choice in _all_pairs(question) if not context]
    else:
        wanted = [request.args[0] for request in question.requests]
    return [(text, texts.opens(text)) for text in dict.fromkeys(wanted)]


def _needed(question: Question, read: Sequence[Sequence[int]]) -> int:
    """Return how long the model's input becomes, where it reads the tokens *read*."""
    kind = question.requests[0].request_type
    if kind == "loglikelihood_rolling":
        return 0
    longest = max(map(len, read))
    last = question.requests[-1]
    if isinstance(last, GreedyRequest):
        given = [r for r in question.requests if isinstance(r, ReferenceRequest)]
        # The last token of a given answer is only predicted, never read.
        whole = [len(request.context) + len(request.answer) - 1 for request in given]
        return max(longest + last.max_new_tokens, *whole, 0)
    if kind == "generate_until":
        return longest + answer_tokens(question.requests[0].args[1])
    # The last token of a choice is only predicted, never read.
    return longest - 1


def _hash(read: Sequence[Sequence[int]]) -> str:
    """Return the first hex digits of the sha256 of token ids, each text's after their number.

    Numbers are four bytes each, the lowest first.
    """
    summary = hashlib.sha256()
    for ids in read:
        numbers = array("I", [len(ids)])
        numbers.extend(ids)
        if sys.byteorder == "big":
            numbers.byteswap()
        summary.update(numbers.tobytes())
    return summary.hexdigest()[:HASH_DIGITS]


def _check_end(texts: TextEncoder, text: str, tokens: Sequence[int]) -> None:
    """Refuse a tokenizer that adds an end, so that nothing can go on from the text.

    Raises:
        ScoreError: It does.
    """
    end = texts.tokenizer.eos_token
    if not end or list(tokens[-1:]) != [texts.tokenizer.eos_token_id] or text.endswith(end):
        return
    if texts.opens(text):
        raise ScoreError(
            f"The tokenizer ends every text with {end}, so that the model would be asked what"
            " follows a text that is over. Set `add_eos_token` to false in tokenizer_config.json"
            " (or take the end out of tokenizer.json), and name that folder as the model."
        )

"""The tokens that a model reads for a question: counted, held against its context, and hashed."""

import hashlib
import struct
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

HASH_DIGITS = 16


def context_limit(tokenizer: Any, model: Path) -> int:
    """Return how many tokens the model reads, as lm-eval's `hf` model finds it."""
    config = AutoConfig.from_pretrained(str(model), trust_remote_code=False)
    return int(resolve_max_length(config, tokenizer))


def check_lengths(questions: Sequence[Question], tokenizer: Any, limit: int) -> list[str]:
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
        read = _read(question, tokenizer)
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


def tokens_needed(question: Question, tokenizer: Any) -> int:
    """Return how long the model's input becomes, counted as lm-eval's `hf` model counts.

    A text of which every token counts (`loglikelihood_rolling`) is read in windows: it always fits.

    Raises:
        ScoreError: The tokenizer adds an end to every text.
    """
    return _needed(question, _read(question, tokenizer))


def answer_tokens(options: Row) -> int:
    """Return the longest answer in tokens that lm-eval's `hf` model generates."""
    return int(normalize_gen_kwargs(dict(options), DEFAULT_MAX_GEN_TOKS)["max_gen_toks"])


def _read(question: Question, tokenizer: Any) -> list[list[int]]:
    """Return the tokens of each text that is read for a question.

    Raises:
        ScoreError: The tokenizer adds an end to every text.
    """
    kind = question.requests[0].request_type
    last = question.requests[-1]
    if isinstance(last, GreedyRequest):
        if last.tokens is not None:
            return [list(last.tokens)]
        # A rendered prompt is encoded as it is.
        return [tokenizer.encode(last.prompt, add_special_tokens=False)]
    if kind == "loglikelihood_rolling":
        texts = [request.args[0] for request in question.requests]
        return [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return [_encoded(tokenizer, text) for text in _texts(question, whole=kind != "generate_until")]


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
    """Return the first hex digits of the sha256 of token ids, each text's after their number."""
    summary = hashlib.sha256()
    for ids in read:
        summary.update(struct.pack(f"<{1 + len(ids)}I", len(ids), *ids))
    return summary.hexdigest()[:HASH_DIGITS]


def _texts(question: Question, *, whole: bool) -> list[str]:
    """Return what has to be read for a question, with the choices if *whole*, each text once.

    Of choices that are letters one stands for all: a text of a hundred lines is not measured again
    for each.
    """
    pairs = [request.args[:2] for request in question.requests]
    if not whole:
        return list(dict.fromkeys(context for context, _ in pairs))
    if len({context for context, _ in pairs}) == 1 and all(len(c.strip()) == 1 for _, c in pairs):
        pairs = pairs[:1]
    return list(dict.fromkeys(context + choice for context, choice in pairs))


def _encoded(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text, special ones that lm-eval lets be added included.

    Raises:
        ScoreError: An end is added, so that nothing can go on from the text.
    """
    prefix = tokenizer.bos_token or tokenizer.eos_token
    special = not (prefix and text.startswith(prefix))
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=special)
    end = tokenizer.eos_token
    if special and end and tokens[-1:] == [tokenizer.eos_token_id] and not text.endswith(end):
        raise ScoreError(
            f"The tokenizer ends every text with {end}, so that the model would be asked what"
            " follows a text that is over. Set `add_eos_token` to false in tokenizer_config.json"
            " (or take the end out of tokenizer.json), and name that folder as the model."
        )
    return tokens

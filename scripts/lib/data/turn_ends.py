"""Where an answer ends: the one place that says it, for scoring, for merging and for the proof."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

# A word that no template changes; what follows it in a rendered turn is the turn's end.
_PROBE = "tunesmith"
_TURNS = ({"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE})

# How templates spell control tokens: ChatML and Llama 3, DeepSeek, Llama 2, Gemma.
MARKER = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn)>"
)


def turn_end(tokenizer: Any) -> str:
    """Return the text with which the chat template ends an assistant's turn, or ''.

    Example: `<|im_end|>` for ChatML.
    """
    _, answer, end = _rendered(tokenizer).rpartition(_PROBE)
    return end.strip() if answer else ""


def end_token(tokenizer: Any, end: str) -> int | None:
    """Return the token that ends an answer where *end* is written, or None where no token does.

    What a template writes behind the control token that ends a turn is its own. Of an end that is
    several ordinary tokens none may stop a model: each of them stands in answers, too.
    """
    tokens: list[int] = tokenizer.encode(end, add_special_tokens=False)
    whole = len(tokens) == 1 or (bool(tokens) and _is_special(tokenizer, tokens[0]))
    return tokens[0] if whole else None


def stop_tokens(
    tokenizer: Any, declared: int | Sequence[int] | None, ends: Iterable[str]
) -> list[int]:
    """Return every token that ends an answer, sorted.

    Args:
        tokenizer: The tokenizer; its end-of-text token is one.
        declared: What the model's generation config names.
        ends: Texts that end an answer, such as `turn_end`.
    """
    named = [declared] if isinstance(declared, int) or declared is None else declared
    found = {tokenizer.eos_token_id, *named, *(end_token(tokenizer, end) for end in ends)}
    return sorted(token for token in found if token is not None)


def split_markers(tokenizer: Any) -> dict[str, int]:
    """Return the chat template's control tokens that are none here -> how many tokens each is.

    A tokenizer that was not made for a template reads `<|im_start|>` as ordinary characters.
    """
    markers = sorted(set(MARKER.findall(_rendered(tokenizer))))
    counts = {one: len(tokenizer.encode(one, add_special_tokens=False)) for one in markers}
    return {marker: count for marker, count in counts.items() if count != 1}


def _rendered(tokenizer: Any) -> str:
    return str(tokenizer.apply_chat_template(list(_TURNS), tokenize=False))


def _is_special(tokenizer: Any, token: int) -> bool:
    added = tokenizer.added_tokens_decoder.get(token)
    return added is not None and bool(added.special)

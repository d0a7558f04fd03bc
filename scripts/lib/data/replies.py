"""The reasoning that a model writes before it answers."""

import re

# What ends it: DeepSeek-R1's tag and its kin; gpt-oss and Gemma 4 answer in a channel of their own.
_ENDED = re.compile(
    r".*(?:</think(?:ing)?>|<\|channel\|>final<\|message\|>|<channel\|>)\s*", re.DOTALL
)
_BEGUN = re.compile(r"\s*<think(?:ing)?>")
_OPENED = re.compile(r"<think(?:ing)?>\s*\Z")


def whole_turn(prompt: str, reply: str) -> str:
    """Return a model's turn: what it said, behind the reasoning that its prompt opened.

    Example: `... <think>` and `Is it A?</think> B` become `<think>Is it A?</think> B`.
    """
    opened = _OPENED.search(prompt)
    return f"{opened.group()}{reply}" if opened else reply


def without_reasoning(turn: str) -> str:
    """Return what comes after a model's reasoning.

    That is everything where there is none, and nothing where it was begun and never closed.

    Example: `<think>Is it A?</think> B` becomes `B`.
    """
    answer, ended = _ENDED.subn("", turn, count=1)
    return "" if not ended and _BEGUN.match(turn) else answer

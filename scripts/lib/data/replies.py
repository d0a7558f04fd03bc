"""The thought that a model writes before it answers, and the answer behind it."""

import re
from typing import Literal

# DeepSeek-R1's tags and their kin, Magistral's and Kimi's; gpt-oss and Gemma 4 answer in a channel
# of their own.
_NAME = r"(?:seed:)?(?:think(?:ing)?|thought)"
_OPEN = rf"(?:<{_NAME}>|\[THINK\]|◁think▷)"
_CLOSE = rf"(?:</{_NAME}>|\[/THINK\]|◁/think▷)"
_ENDED = re.compile(rf".*(?:{_CLOSE}|<\|channel\|>final<\|message\|>|<channel\|>)\s*", re.DOTALL)
_BEGUN = re.compile(rf"\s*(?:{_OPEN}|<\|channel\|>analysis|<\|channel>thought)")
_OPENED = re.compile(rf"{_OPEN}\s*\Z")

# gpt-oss's channels are control tokens, which lm-eval leaves out of generated texts: what stays is
# `analysis`, the thought, `assistantfinal` and the answer.
_BEFORE_CHANNELS = "<|start|>assistant"
_BARE_CHANNELS = re.compile(r"analysis(?P<thought>.*?)(?:assistantfinal(?P<answer>.*))?", re.DOTALL)

Thought = Literal["none", "closed", "open"]
"""Whether a turn begins with a thought, and whether that ever ends."""


def whole_turn(prompt: str, reply: str) -> str:
    """Return a model's turn: what it said, behind the thought that its prompt opened.

    Example: `... <think>` and `Is it A?</think> B` become `<think>Is it A?</think> B`.
    """
    if prompt.endswith(_BEFORE_CHANNELS):
        return _with_channels(reply)
    opened = _OPENED.search(prompt)
    return f"{opened.group()}{reply}" if opened else reply


def _with_channels(reply: str) -> str:
    bare = _BARE_CHANNELS.fullmatch(reply)
    if bare is None:
        return reply
    turn = f"<|channel|>analysis<|message|>{bare['thought']}"
    if bare["answer"] is None:
        return turn
    return f"{turn}<|end|>{_BEFORE_CHANNELS}<|channel|>final<|message|>{bare['answer']}"


def thought_of(turn: str) -> Thought:
    """Tell whether a turn begins with a thought, and whether that ever ends.

    Example: `<think>Is it A?` is open.
    """
    if _ENDED.match(turn):
        return "closed"
    return "open" if _BEGUN.match(turn) else "none"


def without_reasoning(turn: str) -> str:
    """Return what comes after a model's thought.

    That is everything where there is none, and nothing where it was begun and never closed.

    Example: `<think>Is it A?</think> B` becomes `B`.
    """
    answer, ended = _ENDED.subn("", turn, count=1)
    return "" if not ended and _BEGUN.match(turn) else answer

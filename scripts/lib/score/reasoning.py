"""The reasoning that a model writes before it answers."""

import re

# Some templates open the reasoning themselves, so that only their end is in what the model says.
_REASONING = re.compile(r".*</think(?:ing)?>\s*", re.DOTALL)


def without_reasoning(text: str) -> str:
    """Return what comes after a model's reasoning, and everything where it closes none.

    Example: `<think>Is it A?</think> B` becomes `B`.
    """
    return _REASONING.sub("", text, count=1)

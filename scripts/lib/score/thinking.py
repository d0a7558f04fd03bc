"""What a model says to itself before it answers."""

import re

# Some templates open the thoughts themselves, so that only their end is in what the model says.
_THOUGHTS = re.compile(r".*</think(?:ing)?>\s*", re.DOTALL)


def without_thoughts(text: str) -> str:
    """Return what comes after a model's thoughts, and everything where it closes none.

    Example: `<think>Is it A?</think> B` becomes `B`.
    """
    return _THOUGHTS.sub("", text, count=1)

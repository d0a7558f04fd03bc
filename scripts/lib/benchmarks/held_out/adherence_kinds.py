"""Ways in which an answer can keep to what it was tuned for, and where each can be judged."""

from collections.abc import Mapping, Sequence
from typing import Any

ADHERENCE = ("stops", "format", "language")
"""In the order of tables."""


def values_of(kept: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return one way of adherence, question by question, where it can be judged."""
    return [one[name] for one in kept if one[name] is not None]

"""Whether two models read the same texts as the same tokens."""

from collections.abc import Mapping


def other_tokens(base: Mapping[str, str], run: Mapping[str, str]) -> int:
    """Return how many questions two models read as different tokens.

    Args:
        base: Question -> hash of its prompt's tokens, as one model reads them.
        run: Likewise for the other, which was asked the same texts.
    """
    return sum(base[question] != read for question, read in run.items())

"""Which requests have what in common, so that a model reads it once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.lib.errors import ScoreError

# (context text, continuation text), context tokens, continuation tokens: lm-eval's own form.
Request = tuple[Any, list[int], list[int]]

# A shorter prefix, in tokens, costs a forward pass of its own and saves next to nothing.
_MIN_PREFIX = 32


@dataclass(frozen=True, kw_only=True)
class TokenSequence:
    """What the model reads once, for all requests that differ in their last token only.

    Attributes:
        tokens: Context and continuation without its last token, which is only predicted.
        asked: Place of the request and its continuation's tokens, one per request.
        unscored: Number of leading tokens at which no request scores a prediction.
    """

    tokens: tuple[int, ...]
    asked: tuple[tuple[int, list[int]], ...]
    unscored: int

    @property
    def scored(self) -> int:
        """At how many positions, the last ones, the vocabulary is needed."""
        return len(self.tokens) - self.unscored


def check_continuations(requests: Sequence[Request]) -> None:
    """Refuse a continuation without a token, which lm-eval only asserts that there is none.

    Raises:
        ScoreError: The tokenizer merges a choice into the text before it.
    """
    for texts, _, continuation in requests:
        if not continuation:
            context, choice = texts or ("", "")
            raise ScoreError(
                f"The choice {choice!r} leaves no token of its own after {context[-40:]!r}: the"
                " tokenizer merges the two. Let white space or a line break stand between them"
                " (`target_delimiter` of an lm-eval task)."
            )


def token_sequences(requests: Iterable[tuple[int, Request]]) -> list[TokenSequence]:
    """Return what has to be read, sorted by tokens: neighbours have the most in common.

    Args:
        requests: Place and request; the place comes back in `asked`.
    """
    asked: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for index, (_, context, continuation) in requests:
        tokens = (*context, *continuation[:-1])
        asked.setdefault(tokens, []).append((index, continuation))
    return [
        TokenSequence(
            tokens=tokens,
            asked=tuple(asked[tokens]),
            unscored=len(tokens) - max(len(continuation) for _, continuation in asked[tokens]),
        )
        for tokens in sorted(asked)
    ]


def prefix_groups(
    sequences: Sequence[TokenSequence],
) -> Iterator[tuple[int, list[TokenSequence]]]:
    """Yield groups and the number of leading tokens to read once for each; 0 for the loners."""
    loners: list[TokenSequence] = []
    group: list[TokenSequence] = []
    length = 0
    for sequence in sequences:
        shared = min(length, sequence.unscored)
        if group:
            shared = min(shared, _common(group[-1].tokens, sequence.tokens))
        # Joining makes the continuations of the members so far longer by what the prefix loses, and
        # saves the newcomer the prefix.
        if shared >= _MIN_PREFIX and (len(group) - 1) * (length - shared) < shared:
            group.append(sequence)
            length = shared
            continue
        if len(group) > 1:
            yield length, group
        else:
            loners += group
        group, length = [sequence], sequence.unscored
    if len(group) > 1:
        yield length, group
    else:
        loners += group
    if loners:
        yield 0, loners


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many leading tokens two sequences have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))

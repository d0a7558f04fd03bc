"""Which requests have what in common, so that a model reads it once."""

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.lib.errors import ScoreError

# (context text, continuation text), context tokens, continuation tokens: lm-eval's own form.
Request = tuple[Any, Sequence[int], Sequence[int]]

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


def token_sequences(requests: Sequence[tuple[int, Request]]) -> list[TokenSequence]:
    """Return what has to be read, sorted by tokens: neighbours have the most in common.

    Args:
        requests: Place and request; the place comes back in `asked`.
    """
    keys: dict[tuple[int, tuple[int, ...]], bytes] = {}
    asked: dict[bytes, list[tuple[int, list[int]]]] = {}
    for index, (_, context, continuation) in requests:
        # The choices of a question come with the very same context.
        begins = (id(context), tuple(continuation[:-1]))
        if begins not in keys:
            keys[begins] = _key(context, continuation)
        asked.setdefault(keys[begins], []).append((index, list(continuation)))
    return [_sequence(key, tuple(asked[key])) for key in sorted(asked)]


def _key(context: Sequence[int], continuation: Sequence[int]) -> bytes:
    """Return what is read as bytes that sort as its tokens do; comparing them costs nothing."""
    ids = array("I", context)
    ids.extend(continuation[:-1])
    return _big_endian(ids).tobytes()


def _sequence(key: bytes, asked: tuple[tuple[int, list[int]], ...]) -> TokenSequence:
    ids = array("I")
    ids.frombytes(key)
    return TokenSequence(
        tokens=tuple(_big_endian(ids)),
        asked=asked,
        unscored=len(ids) - max(len(continuation) for _, continuation in asked),
    )


def _big_endian(ids: "array[int]") -> "array[int]":
    """Return numbers with their highest byte first, or such numbers as the machine's own."""
    if sys.byteorder == "little":
        ids.byteswap()
    return ids


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
            shared = _common(group[-1].tokens, sequence.tokens, shared)
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


def _common(one: Sequence[int], other: Sequence[int], most: int) -> int:
    """Return how many of their first *most* tokens two sequences have in common."""
    common, differ = 0, most + 1
    while differ - common > 1:
        at = most if differ > most else (common + differ) // 2
        if one[common:at] == other[common:at]:
            common = at
        else:
            differ = at
    return common

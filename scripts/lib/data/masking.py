"""Which tokens of a rendered text are trained on.

Masks come from what the model is asked for turn by turn, not from `{% generation %}` marks: most
templates have none, and give an all-zero mask without a word.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.lib.data.encoding import Encoded, Span

Range = tuple[int, int]  # tokens: first, and one past the last


@dataclass(frozen=True, kw_only=True)
class LossMask:
    """What is trained on in one text.

    Attributes:
        tokens: How many the text has.
        trained: Those that are trained on, turn by turn.
        ended: Whether every trained turn ends with a control token.
    """

    tokens: int
    trained: tuple[Range, ...]
    ended: bool

    @property
    def mask(self) -> list[int]:
        """Return 1 for each trained token, else 0."""
        return list(mask_of(self.trained, self.tokens))


def mask_of(trained: Sequence[Range], tokens: int) -> bytes:
    """Return a byte for each token: 1 in the ranges, else 0."""
    mask = bytearray(tokens)
    for first, behind in trained:
        if first < behind:
            mask[first:behind] = b"\1" * (behind - first)
    return bytes(mask)


def tokens_in(encoded: Encoded, spans: Sequence[Span]) -> tuple[Range, ...]:
    """Return the tokens that begin inside each of the spans."""
    starts = encoded.starts
    return tuple((bisect_left(starts, start), bisect_left(starts, end)) for start, end in spans)


def loss_mask(
    encoded: Encoded, text: str, spans: Sequence[Span], special_ids: frozenset[int]
) -> LossMask:
    r"""Return the mask of the tokens that begin inside the spans.

    A turn is trained up to its last control token; white space that the template puts after it
    belongs to nobody. A token that straddles the start of a span is not trained: its first
    half is prompt, and after that prompt the model can never be asked for it. One that straddles
    the end is: the model has to write it. Example: of `<|im_start|>assistant\nHi<|im_end|>\n`, the
    tokens of `Hi<|im_end|>` are trained.

    Args:
        encoded: Tokens and their places.
        text: The rendered text.
        spans: Characters of the trained turns.
        special_ids: Ids of control tokens.
    """
    starts = encoded.starts
    trained: list[Range] = []
    ended = True
    for (start, end), (first, behind) in zip(spans, tokens_in(encoded, spans), strict=True):
        last = next(
            (n for n in range(behind - 1, first - 1, -1) if encoded.ids[n] in special_ids), None
        )
        if last is not None and not text[encoded.ends[last] : end].strip():
            trained.append((first, last + 1))
        else:
            ended = False
            behind = bisect_left(starts, start + len(text[start:end].rstrip()))
            trained.append((first, behind))
    return LossMask(tokens=len(starts), trained=tuple(trained), ended=ended)

"""Which tokens of a rendered text are trained on.

Masks come from what the model is asked for turn by turn, not from `{% generation %}` marks: most
templates have none, and give an all-zero mask without a word.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.lib.data.encoding import Encoded, Span


@dataclass(frozen=True, kw_only=True)
class LossMask:
    """What is trained on in one text.

    Attributes:
        mask: 1 for each trained token, else 0.
        ended: Whether every trained turn ends with a control token.
    """

    mask: list[int]
    ended: bool


def tokens_in(encoded: Encoded, spans: Sequence[Span]) -> list[int]:
    """Return 1 for each token that begins inside the spans, else 0."""
    starts = [start for start, _ in encoded.spans]
    mask = [0] * len(starts)
    for start, end in spans:
        first, behind = bisect_left(starts, start), bisect_left(starts, end)
        mask[first:behind] = [1] * (behind - first)
    return mask


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
    starts = [start for start, _ in encoded.spans]
    mask = [0] * len(starts)
    ended = True
    for start, end in spans:
        first, behind = bisect_left(starts, start), bisect_left(starts, end)
        last = next(
            (n for n in range(behind - 1, first - 1, -1) if encoded.ids[n] in special_ids), None
        )
        if last is not None and not text[encoded.spans[last][1] : end].strip():
            behind = last + 1
        else:
            ended = False
            behind = bisect_left(starts, start + len(text[start:end].rstrip()))
        mask[first:behind] = [1] * (behind - first)
    return LossMask(mask=mask, ended=ended)

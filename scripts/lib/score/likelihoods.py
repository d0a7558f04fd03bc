"""Logits -> log-probabilities of continuations, fetched from the device once for many sequences."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from scripts.lib.score.prefix_groups import TokenSequence

Loglikelihood: TypeAlias = tuple[float, bool]
"""Log-probability of a continuation in nats, and whether greedy decoding would produce it."""


def likelihoods(
    sequences: Sequence[TokenSequence], logits: Sequence[Any], dtype: torch.dtype
) -> dict[int, Loglikelihood]:
    """Return the reply to every request of sequences, by its place.

    Args:
        sequences: What was read.
        logits: Of each, (scored position, vocabulary).
        dtype: Precision of the softmax.
    """
    asked = [one for sequence in sequences for one in sequence.asked]
    device = logits[0].device
    # One transfer there and one back: each costs a GPU more than what it is for.
    tokens = torch.tensor([token for _, own in asked for token in own], device=device)
    places = torch.tensor([at for s in sequences for at in _places(s)], device=device)
    counts = [sum(len(own) for _, own in sequence.asked) for sequence in sequences]
    found, greedy = [], []
    for own, token, place in zip(logits, tokens.split(counts), places.split(counts), strict=True):
        logprobs = torch.log_softmax(own, dim=-1, dtype=dtype)
        found.append(logprobs[place, token])
        greedy.append(logprobs.argmax(dim=-1)[place] == token)
    return _replies(asked, torch.cat(found).cpu(), torch.cat(greedy).tolist())


def _places(sequence: TokenSequence) -> list[int]:
    """Return at which scored position each token of each continuation is predicted."""
    scored = sequence.scored
    return [at for _, own in sequence.asked for at in range(scored - len(own), scored)]


def _replies(
    asked: Sequence[tuple[int, list[int]]], logprobs: Any, greedy: Sequence[bool]
) -> dict[int, Loglikelihood]:
    alone: list[float] = logprobs.tolist()
    replies, stop = dict[int, Loglikelihood](), 0
    for index, own in asked:
        start, stop = stop, stop + len(own)
        # Summed in the precision of the softmax, as lm-eval does.
        total = alone[start] if len(own) == 1 else float(logprobs[start:stop].sum())
        replies[index] = total, all(greedy[start:stop])
    return replies

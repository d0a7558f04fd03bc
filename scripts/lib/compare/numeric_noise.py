"""How far rounding alone moves a difference of scores: would another scoring show it, too?

The same model, asked the same questions in other batches or on another device, sums its products in
another order and rounds otherwise. An answer whose right choice lies close to the likeliest other
one may then turn. With the margin m between the two (log-probabilities, nats) and the standard
deviation s of what another scoring adds to a margin, taken as normal,

    an answer turns        with the probability p = Phi(-|m| / s)
    the difference moves   by the sum of what turns in both models: independent steps of one answer

so that the probability that another scoring shows no difference, or one of the other sign, follows
by adding up the steps exactly. Where it is 5 % or more the difference lies within numeric noise:
it says nothing of the models, whatever its p-value, which is about other questions.

`make score-noise` scores one model in several ways and prints its s.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from scripts.lib.compare.document import Difference, NumericNoise
from scripts.lib.score.answers import Scores
from scripts.lib.score.documents import Note
from scripts.lib.score.statistics import SIGNIFICANCE

USUAL_NATS: Mapping[str, float] = {"float32": 4.1e-6, "bfloat16": 0.086}
"""Precision -> s where nothing else is configured (docs/scoring.md).

As `make score-noise` printed it for the embedded model.
"""

# Answers that turn in one of so many scorings do not count: their steps only take time.
_NEVER = 1e-9

# What is behind these digits of a probability is the rounding of its own computation.
_DIGITS = 10


def numeric_noise(base: Scores, run: Scores, nats: float) -> NumericNoise | None:
    """Return what another scoring of both would do to the difference of their scores.

    Args:
        base: Answers to some questions.
        run: To the same.
        nats: Standard deviation s of what another scoring adds to a margin.

    Returns:
        None where answers have no margins: nobody weighed choices.
    """
    if base.margins is None or run.margins is None:
        return None
    difference = round(float(run.values.sum() - base.values.sum()))
    # A right answer of the run that turns takes one off, a wrong one adds one; of the base likewise
    # with the signs changed.
    (lost, won), (won_by_base, lost_by_base) = (_turning(one, nats) for one in (run, base))
    down, up = np.concatenate((lost, lost_by_base)), np.concatenate((won, won_by_base))
    every = np.concatenate((down, up))
    sign_lost = _sign_lost(difference, up, down)
    return {
        "nats": nats,
        "turning": math.fsum(every),
        "points": 100 * math.sqrt(math.fsum(every * (1 - every))) / len(run.values),
        "sign_lost": sign_lost,
        "within": bool(difference) and sign_lost >= SIGNIFICANCE,
    }


def _turning(scores: Scores, nats: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how likely each right answer turns, and each wrong one."""
    assert scores.margins is not None
    chances, right = turns(np.abs(scores.margins), nats), scores.values != 0
    return chances[right], chances[~right]


def noise_note(differences: Mapping[str, Mapping[str, Difference]], dtype: str) -> Iterator[Note]:
    """Yield which differences may be rounding alone, and what that means.

    Args:
        differences: Candidate -> category -> its difference from its base.
        dtype: The precision that was scored in.
    """
    within = {
        name: [category for category, one in found.items() if _within(one)]
        for name, found in differences.items()
    }
    if any(within.values()):
        listed = "; ".join(f"{name} on {', '.join(c)}" for name, c in within.items() if c)
        text = (
            f"Within numeric noise: {listed}. Scored again in other batches or on another device,"
            f" where {dtype} is rounded otherwise, the same two models would show no difference, or"
            f" one of the other sign, in at least {100 * SIGNIFICANCE:.0f} % of the cases"
            " (docs/scoring.md)."
        )
        yield {"code": "within_noise", "text": text}


def _within(difference: Difference) -> bool:
    return difference["noise"] is not None and difference["noise"]["within"]


def turns(margins: np.ndarray, nats: float) -> np.ndarray:
    """Return Phi(-margin / nats): how likely the sign of each margin is another one next time."""
    from scipy.special import ndtr  # takes as long to import as all else here

    chances: np.ndarray = ndtr(-margins / nats)
    return chances


def _sign_lost(difference: int, up: np.ndarray, down: np.ndarray) -> float:
    """Return how likely a difference is gone or turned round, where single answers turn."""
    if not difference:
        return 1.0
    if difference < 0:
        difference, up, down = -difference, down, up
    up, down = (chances[chances > _NEVER] for chances in (up, down))
    # An answer is taken off or it is not: counted are those that are added and those that stay,
    # of which len(down) leave the difference as it is.
    counted = _count(np.concatenate((up, 1 - down)))
    lost = float(counted[: max(0, len(down) - difference + 1)].sum())
    return min(max(0.0, round(lost, _DIGITS)), 1.0)  # 0.0 first: rounding makes -0.0, too


def _count(chances: np.ndarray) -> np.ndarray:
    """Return the probabilities of 0, 1, 2, ... events that are independent (Poisson binomial).

    Halves are joined by pairs, all pairs at once: the counts of two groups of events add up by a
    convolution.
    """
    found = np.stack((1 - chances, chances), axis=1) if len(chances) else np.ones((1, 1))
    while len(found) > 1:
        if len(found) % 2:
            found = np.concatenate((found, np.eye(1, found.shape[1])))  # no event
        length = 2 * found.shape[1] - 1
        one, other = (np.fft.rfft(half, length) for half in (found[::2], found[1::2]))
        found = np.fft.irfft(one * other, length)
    counted: np.ndarray = found[0]
    return counted

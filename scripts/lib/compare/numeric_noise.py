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
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from scripts.lib.compare.document import Difference, NumericNoise
from scripts.lib.score.aggregation import ScoredAnswer
from scripts.lib.score.documents import Note
from scripts.lib.score.statistics import SIGNIFICANCE

USUAL_NATS: Mapping[str, float] = {"float32": 4.1e-6, "bfloat16": 0.05}
"""Precision -> s where nothing else is configured (docs/scoring.md).

In float32 as `make score-noise` printed it for the embedded model. In bfloat16 assumed from the
spacing of its numbers: 1/16 between 8 and 16, where logits lie, makes 0.036 for two logits in two
scorings, more with the layers below.
"""

# Of a margin of so many s the probability is 0 in double precision: nothing is left to be added up.
_REACH = 40.0

# Answers that turn in one of so many scorings do not count: their steps only take time.
_NEVER = 1e-9


def numeric_noise(
    base: Sequence[ScoredAnswer], run: Sequence[ScoredAnswer], nats: float
) -> NumericNoise | None:
    """Return what another scoring of both would do to the difference of their scores.

    Args:
        base: Answers to some questions.
        run: To the same.
        nats: Standard deviation s of what another scoring adds to a margin.

    Returns:
        None where answers have no margins: nobody weighed choices.
    """
    if None in [answer["margin"] for answer in (*base, *run)]:
        return None
    difference = round(sum(a["score"] for a in run) - sum(a["score"] for a in base))
    # A right answer of the run that turns takes one off, a wrong one adds one; of the base likewise
    # with the signs changed.
    chances: dict[str, list[float]] = {"down": [], "up": []}
    for answers, right, wrong in ((run, "down", "up"), (base, "up", "down")):
        for answer in answers:
            margin = abs(answer["margin"] or 0.0)
            if margin < _REACH * nats:
                chances[right if answer["score"] else wrong].append(turns(margin, nats))
    every = [*chances["down"], *chances["up"]]
    lost = _sign_lost(difference, chances["up"], chances["down"])
    return {
        "nats": nats,
        "turning": math.fsum(every),
        "points": 100 * math.sqrt(math.fsum(p * (1 - p) for p in every)) / len(run),
        "sign_lost": lost,
        "within": bool(difference) and lost >= SIGNIFICANCE,
    }


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


def turns(margin: float, nats: float) -> float:
    """Return Phi(-margin / nats): how likely the sign of a margin is another one next time."""
    return math.erfc(margin / nats / math.sqrt(2)) / 2


def _sign_lost(difference: int, up: Sequence[float], down: Sequence[float]) -> float:
    """Return how likely a difference is gone or turned round, where single answers turn."""
    if not difference:
        return 1.0
    if difference < 0:
        difference, up, down = -difference, down, up
    # Place k holds the probability of k - len(down) answers more.
    steps = np.convolve(_count(up), _count(down)[::-1])
    fewest = len(_count(down)) - 1
    return float(steps[: max(0, fewest - difference + 1)].sum())


def _count(chances: Iterable[float]) -> np.ndarray:
    """Return the probabilities of 0, 1, 2, ... events that are independent (Poisson binomial)."""
    found = np.ones(1)
    for chance in chances:
        if chance > _NEVER:
            found = np.convolve(found, (1 - chance, chance))
    return found

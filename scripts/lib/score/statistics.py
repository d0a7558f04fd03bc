"""What two candidates' answers to the same questions tell apart."""

import math

import numpy as np
from numpy.typing import ArrayLike

from scripts.lib.score.documents import ChangeVerdict
from scripts.lib.score.intervals import (
    detectable_mean,
    detectable_share,
    mean_interval,
    score_interval,
)
from scripts.lib.score.paired_documents import DecidedDifference
from scripts.lib.score.standard_error import standard_error

# Below this p-value a difference is called better or worse. The usual convention, stated in the
# report together with what was decided at once.
SIGNIFICANCE = 0.05

# Sign flips tried for scores between right and wrong; p-values below 1 / RESAMPLES do not occur.
RESAMPLES = 9999


def paired_difference(base: ArrayLike, run: ArrayLike) -> DecidedDifference:
    """Compare two candidates' answers to the same questions.

    Args:
        base: Score per question: 1 for right, 0 for wrong, or what is between.
        run: The same questions in the same order.

    Returns:
        The difference with its test: exact McNemar where answers are right or wrong (McNemar,
        Psychometrika 12, 1947), else random flips of the differences' signs (Fisher, The Design of
        Experiments, 1935). It stands for itself here; who makes several at once corrects them.

    Example:
        Base right on 1 of 2, run on both: difference 50 points, standard error 50.
    """
    change = np.asarray(run, dtype=float) - np.asarray(base, dtype=float)
    n = len(change)
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    difference = 100 * math.fsum(change) / n
    stderr = standard_error(change.tolist())
    flipped = gained + lost
    graded = bool(np.any(change % 1))
    p_value = 1.0
    if flipped:
        p_value = _sign_flips(change) if graded else sign_test(gained, flipped)
    if graded:
        error = None if stderr is None else 100 * stderr
        interval = mean_interval(difference, error, n)
        detectable = detectable_mean(stderr)
    else:
        interval = [100 * end for end in score_interval(gained, lost, n)]
        detectable = detectable_share(flipped, n)
    return {
        "difference": difference,
        "stderr": None if stderr is None else 100 * stderr,
        "gained": gained,
        "lost": lost,
        "n": n,
        "p_value": float(p_value),
        "test": "sign flips" if graded else "McNemar",
        "verdict": _verdict(difference, p_value, flipped),
        "interval": interval,
        "detectable": None if detectable is None else 100 * detectable,
        "family": "primary",
        "p_corrected": float(p_value),
    }


def sign_test(successes: int, trials: int) -> float:
    """Return the exact two-sided p-value of *successes* in *trials* if both ways are as likely.

    Twice the chance of so few on the rarer side, at most 1, counted in whole numbers: `scipy.stats`
    has the same test and takes a second to import, longer than all else that a comparison does.

    Example: 0 of 3 has the p-value 2 / 8.
    """
    ways = total = 1
    for chosen in range(min(successes, trials - successes)):
        ways = ways * (trials - chosen) // (chosen + 1)
        total += ways
    p_value: float = 2 * total / 2**trials
    return min(1.0, p_value)


def _sign_flips(change: np.ndarray) -> float:
    """Return the p-value of the mean change when every change might as well be its opposite."""
    if len(change) < 2:
        return 1.0  # either sign is as far from nothing
    # For scores between right and wrong only: it takes a second to import.
    from scipy.stats import permutation_test

    found = permutation_test(
        (change,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _verdict(difference: float, p_value: float, flipped: int) -> ChangeVerdict:
    if not flipped:
        return "unchanged"
    if p_value >= SIGNIFICANCE:
        return "undecided"
    return "better" if difference > 0 else "worse"

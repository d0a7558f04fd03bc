"""Intervals of the difference of two candidates on the same questions, and what could be shown.

For answers that are right or wrong the interval is Tango's score interval (Statistics in Medicine
17, 1998, pages 891 to 908): all differences that the score test does not refuse. It has a width
where few questions flipped or none did, stays within -1 and 1, and holds the true difference about
as often as it says also at small counts, where difference ± 1.96 standard errors does not.
`scripts.tools.interval_coverage` compares the two, and Newcombe's method 10 (the same volume, pages
2635 to 2650); docs/statistics.md has the table. For scores between right and wrong, and for losses,
it is Student's t interval of the mean.
"""

import math

CONFIDENCE = 0.95
POWER = 0.8
Z = 1.959963984540054
"""Standard errors to either side of an estimate: `scipy.stats.norm.ppf((1 + CONFIDENCE) / 2)`."""
Z_POWER = 0.8416212335729143
"""`scipy.stats.norm.ppf(POWER)`."""

FEWEST = 6
"""Questions that the exact test needs: all of five turned one way have a p-value of 1 / 16."""

# How close to the estimate the search for an end of its interval begins, in differences of shares.
_STEP = 1e-9


def score_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Return Tango's 95 % interval of the difference of two shares of the same *n*.

    Args:
        gained: Questions that only the second has.
        lost: Questions that only the first has.
        n: All questions, at least one.

    Returns:
        Low and high end, from -1 to 1.

    Example: 0 lost and 0 gained of 54 have the interval from -0.0664 to 0.0664.
    """
    from scipy.optimize import brentq  # takes as long to import as all else here

    difference = (gained - lost) / n

    def excess(assumed: float) -> float:
        miss = gained - lost - n * assumed
        return float(miss**2 - Z**2 * n * _variance(gained, lost, n, assumed))

    low, high = -1.0, 1.0
    if difference - _STEP > -1:
        low = brentq(excess, -1, difference - _STEP)
    if difference + _STEP < 1:
        high = brentq(excess, difference + _STEP, 1)
    return low, high


def _variance(gained: int, lost: int, n: int, assumed: float) -> float:
    """Return the variance of one question's change (1, 0 or -1) if the difference is as assumed.

    The share of losses that the data make likeliest then solves a quadratic equation (Tango 1998,
    equation 11).
    """
    b = (2 * n - gained + lost) * assumed - gained - lost
    c = -lost * assumed * (1 - assumed)
    share = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    return max(2 * share + assumed * (1 - assumed), 0.0)


def mean_interval(mean: float, stderr: float | None, n: int) -> list[float] | None:
    """Return Student's 95 % interval of a mean, in its unit.

    Args:
        mean: The mean.
        stderr: Its standard error.
        n: How many values it is of.

    Returns:
        Low and high end; None where nothing tells how far other questions would lie apart: below
        two values, or where all are equal.
    """
    if not stderr:
        return None
    from scipy.special import stdtrit  # takes longer to import than all else here

    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * stderr
    return [mean - half, mean + half]


def detectable_share(flipped: int, n: int) -> float | None:
    """Return the difference of shares that a test of *n* questions shows in 80 % of the cases.

    Two-sided at 5 %, where as large a share of the questions flips as did here. It solves the
    formula for the number of pairs of McNemar's test (Connor, Biometrics 43, 1987, pages 207 to
    211; for benchmarks Card et al., With Little Power Comes Great Responsibility, EMNLP 2020)

        n d^2 = (z_a sqrt(p) + z_b sqrt(p - d^2))^2

    for d, with p the share that flips. A share of flips is never below the difference that they
    make: where fewer flipped than that takes, p is the difference itself, all flips one way.

    Args:
        flipped: Questions whose answers turned right or wrong.
        n: All questions.

    Returns:
        From 0 to 1; None where the exact test has too few questions to decide anything.

    Example: where 1,000 of 14,042 questions flip, 0.0063.
    """
    if n < FEWEST:
        return None
    share = flipped / n
    factor = (Z * math.sqrt(n) + Z_POWER * math.sqrt(n + Z_POWER**2 - Z**2)) / (n + Z_POWER**2)
    found = factor * math.sqrt(share)
    return min(found if 0 < found <= share else factor**2, 1.0)


def detectable_mean(stderr: float | None) -> float | None:
    """Return the mean difference that a test shows in 80 % of the cases, two-sided at 5 %.

    In the unit of its standard error, where values lie as far apart as here; None where they are
    all equal or fewer than two.
    """
    return (Z + Z_POWER) * stderr if stderr else None

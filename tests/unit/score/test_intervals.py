"""Intervals of paired differences: published examples, other ways to the same, true coverage."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from scripts.lib.score import intervals
from scripts.lib.score.intervals import (
    detectable_mean,
    detectable_share,
    mean_interval,
    score_interval,
)
from scripts.lib.score.statistics import paired_difference, sign_test


def test_the_quantiles_are_those_of_the_normal_distribution():
    assert float(stats.norm.ppf((1 + intervals.CONFIDENCE) / 2)) == intervals.Z
    assert float(stats.norm.ppf(intervals.POWER)) == intervals.Z_POWER


PUBLISHED = [
    # Cavo et al. 2012, complete response before and after a therapy, in Fagerland, Lydersen and
    # Laake, Statistical Analysis of Contingency Tables, 2017, chapter 8.
    ((6, 16, 161), (-0.1240, -0.0054)),
    # Both ends with Tango's method as R's PropCIs::scoreci.mp gives them.
    ((38, 48, 200), (-0.1405, 0.0412)),
]


@pytest.mark.parametrize(("counts", "expected"), PUBLISHED)
def test_the_score_interval_is_that_of_published_examples(counts, expected):
    assert score_interval(*counts) == pytest.approx(expected, abs=5e-5)


def likeliest_statistic(gained, lost, n, assumed):
    """Return the score statistic with the likeliest shares found by search, not by a formula."""
    same = n - gained - lost

    def surprise(share):
        up, rest = share + assumed, 1 - 2 * share - assumed
        terms = ((gained, up), (lost, share), (same, rest))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    low, high = max(0.0, -assumed), (1 - assumed) / 2
    share = optimize.minimize_scalar(
        surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-13}
    ).x
    variance = n * (2 * share + assumed - assumed**2)
    return (gained - lost - n * assumed) / math.sqrt(variance)


@pytest.mark.parametrize(
    "counts", [(3, 1, 20), (8, 22, 220), (40, 25, 300), (500, 639, 14_042), (1, 7, 21), (5, 5, 40)]
)
def test_at_its_ends_the_score_test_is_at_its_limit(counts):
    for end in score_interval(*counts):
        assert abs(likeliest_statistic(*counts, end)) == pytest.approx(intervals.Z, rel=1e-4)


def test_without_flips_the_score_interval_is_that_of_a_share_of_none():
    # All that the data leave open is how many flip one way: Wilson's interval of 0 of n.
    for n in (1, 6, 54, 1000):
        low, high = score_interval(0, 0, n)
        wilson = stats.binomtest(0, n).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((-wilson.high, wilson.high), abs=1e-7)


def test_swapping_gains_and_losses_mirrors_the_interval():
    for gained, lost, n in ((3, 9, 30), (0, 4, 12), (0, 0, 9), (7, 7, 14)):
        low, high = score_interval(gained, lost, n)
        assert score_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)
        assert -1 <= low <= (gained - lost) / n <= high <= 1


def coverage(n, flips, lean, interval):
    """Return how often an interval holds the true difference, counted over all outcomes.

    Args:
        n: Questions.
        flips: Share of them that flips.
        lean: Share of the flips that are losses.
        interval: Counts -> its ends.
    """
    truth = flips * (1 - 2 * lean)
    covered = 0.0
    for flipped in range(n + 1):
        some = stats.binom.pmf(flipped, n, flips)
        if some < 1e-7:
            continue
        for lost in range(flipped + 1):
            chance = some * stats.binom.pmf(lost, flipped, lean)
            if chance > 1e-7:
                low, high = interval(flipped - lost, lost, n)
                covered += chance * (low <= truth <= high)
    return covered


def wald(gained, lost, n):
    difference = (gained - lost) / n
    half = intervals.Z * math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    return difference - half, difference + half


@pytest.mark.parametrize("lean", [0.5, 0.75, 1.0])
@pytest.mark.parametrize(("n", "flips"), [(30, 0.05), (30, 0.2), (100, 0.03), (100, 0.1)])
def test_the_score_interval_holds_the_truth_at_small_counts_where_two_errors_do_not(n, flips, lean):
    assert coverage(n, flips, lean, score_interval) >= 0.93
    if n * flips <= 3 and lean > 0.5:
        assert coverage(n, flips, lean, wald) < 0.93


def test_the_interval_of_graded_scores_is_students():
    base, run = [0.2, 0.5, 0.1, 0.9, 0.4, 0.3], [0.5, 0.6, 0.7, 0.8, 0.9, 0.5]
    found = paired_difference(base, run)
    change = 100 * np.subtract(run, base)
    expected = stats.ttest_1samp(change, 0).confidence_interval(0.95)
    assert found["interval"] == pytest.approx([expected.low, expected.high])
    assert found["detectable"] == pytest.approx(2.8016 * stats.sem(change), rel=1e-4)


def test_where_nothing_varies_there_is_no_interval_of_a_mean():
    assert mean_interval(0.5, None, 1) is None
    assert mean_interval(0.5, 0.0, 8) is None
    assert detectable_mean(0.0) is None


def power(n, flips, difference):
    """Return how often the exact McNemar test decides, counted over all outcomes."""
    lean = 0.5 * (1 - difference / flips)
    found = 0.0
    for flipped in range(n + 1):
        some = stats.binom.pmf(flipped, n, flips)
        if some < 1e-6:
            continue
        decided = [k for k in range(flipped + 1) if flipped and sign_test(k, flipped) < 0.05]
        found += some * stats.binom.pmf(decided, flipped, lean).sum()
    return found


@pytest.mark.parametrize(("flipped", "n"), [(30, 220), (12, 100), (90, 600), (300, 2000), (0, 150)])
def test_the_difference_that_could_be_shown_is_shown_in_four_of_five_cases(flipped, n):
    difference = detectable_share(flipped, n)
    assert difference > 0
    # The formula is that of a test without the steps of counts, of which the exact one has more.
    assert 0.69 <= power(n, max(flipped / n, difference), difference) <= 0.83


def test_the_formula_for_the_number_of_pairs_gives_the_number_back():
    for flipped, n in ((1000, 14_042), (30, 220), (5, 40)):
        difference, share = detectable_share(flipped, n), flipped / n
        share = max(share, difference)
        root = intervals.Z * math.sqrt(share)
        root += intervals.Z_POWER * math.sqrt(share - difference**2)
        assert (root / difference) ** 2 == pytest.approx(n)


def test_five_questions_can_decide_nothing():
    assert detectable_share(3, 5) is None
    assert paired_difference([0] * 5, [1] * 5)["verdict"] == "undecided"
    assert paired_difference([0] * 6, [1] * 6)["verdict"] == "better"
    assert detectable_share(6, 6) <= 1

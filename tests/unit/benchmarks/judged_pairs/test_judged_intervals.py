"""The intervals of a judge's rates are those of scipy.stats, which is not loaded for them."""

import pytest
from scipy.stats import binomtest

from scripts.lib.benchmarks.judged_pairs import scores
from scripts.lib.score import intervals


@pytest.mark.parametrize("trials", [1, 2, 3, 7, 50, 805])
def test_wilsons_interval_is_scipys_to_the_bit(trials):
    for successes in {0, 1, trials // 3, trials // 2, trials - 1, trials}:
        found = binomtest(successes, trials).proportion_ci(intervals.CONFIDENCE, method="wilson")
        assert scores.wilson_interval(successes, trials) == [found.low, found.high]

"""The p-values that are found without scipy.stats are those of scipy.stats."""

import pytest
from scipy.stats import binomtest

from scripts.lib.score.statistics import sign_test

TRIALS = (*range(1, 40), 101, 1000, 14_042)


@pytest.mark.parametrize("trials", TRIALS)
def test_the_sign_test_is_scipys_to_the_bit(trials):
    step = max(1, trials // 40)
    middle = (trials // 2, (trials + 1) // 2)
    for successes in {*range(0, trials + 1, step), *middle, trials}:
        expected = binomtest(successes, trials, 0.5).pvalue
        assert sign_test(successes, trials) == expected, successes

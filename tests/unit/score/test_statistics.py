"""Statistics that are counted here are those of scipy, which takes a second to import."""

import itertools
from fractions import Fraction

import pytest
from scipy.stats import binomtest

from scripts.lib.score.statistics import paired_difference, sign_test

TRIALS = (*range(1, 40), 101, 1000, 14_042)


@pytest.mark.parametrize("trials", TRIALS)
def test_the_sign_test_is_scipys(trials):
    step = max(1, trials // 40)
    middle = (trials // 2, (trials + 1) // 2)
    for successes in {*range(0, trials + 1, step), *middle, trials}:
        expected = binomtest(successes, trials, 0.5).pvalue
        assert sign_test(successes, trials) == pytest.approx(expected, rel=1e-11), successes


def test_the_sign_test_is_the_share_of_all_ways_that_are_as_uneven():
    for trials in range(1, 11):
        every = [sum(way) for way in itertools.product((0, 1), repeat=trials)]
        for successes in range(trials + 1):
            as_uneven = [n for n in every if abs(2 * n - trials) >= abs(2 * successes - trials)]
            share = Fraction(len(as_uneven), len(every))
            assert sign_test(successes, trials) == float(share)


def test_one_question_between_right_and_wrong_shows_nothing():
    found = paired_difference([0.25], [0.5])
    assert (found["n"], found["p_value"], found["stderr"]) == (1, 1.0, None)

"""Whether another scoring of the same models would show a difference: held against enumeration."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.lib.compare.numeric_noise import USUAL_NATS, numeric_noise
from scripts.lib.score.answers import Scores

NATS = 0.05


def answers(*margins):
    """Return answers of which each is right where its margin is above 0."""
    found = np.array(margins, dtype=float)
    return Scores((found > 0).astype(float), found)


def by_enumeration(base, run, nats):
    """Return how likely the sign is lost, the mean and the deviation, from all that can turn."""
    normal = statistics.NormalDist()
    every = [(*a, 1) for a in zip(*run, strict=True)]
    every += [(*a, -1) for a in zip(*base, strict=True)]
    now = sum(side * score for score, _, side in every)
    lost, moments = 0.0, [0.0, 0.0]
    for turned in itertools.product((False, True), repeat=len(every)):
        chance, then = 1.0, 0.0
        for (score, margin, side), turns in zip(every, turned, strict=True):
            p = normal.cdf(-abs(margin) / nats)
            chance *= p if turns else 1 - p
            then += side * (1 - score if turns else score)
        lost += chance * (then * now <= 0)
        moments[0] += chance * then
        moments[1] += chance * then**2
    return lost, 100 * math.sqrt(max(0.0, moments[1] - moments[0] ** 2)) / len(run.values)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.sampled_from((-2.0, -0.1, -0.04, -0.001, 0.001, 0.02, 0.06, 1.0))] * 2),
        min_size=1,
        max_size=4,
    )
)
def test_the_probability_is_that_of_counting_every_way_in_which_answers_turn(pairs):
    base, run = (answers(*side) for side in zip(*pairs, strict=True))
    found = numeric_noise(base, run, NATS)
    lost, points = by_enumeration(base, run, NATS)
    assert found["sign_lost"] == pytest.approx(lost, abs=1e-9)
    assert found["points"] == pytest.approx(points, abs=1e-5)


def test_a_difference_of_clear_answers_is_no_noise():
    found = numeric_noise(answers(-1, -2, 3, 4), answers(1, 2, 3, 4), NATS)
    assert not found["within"]
    assert found["sign_lost"] < 1e-9 and found["points"] < 1e-6 and found["turning"] < 1e-9


def test_a_difference_by_one_answer_on_the_edge_is_noise():
    found = numeric_noise(answers(1, 2, 3, -0.001), answers(1, 2, 3, 0.5), NATS)
    assert found["within"]
    assert found["sign_lost"] == pytest.approx(0.5, abs=0.01)
    assert found["turning"] == pytest.approx(0.5, abs=0.01)
    assert found["points"] == pytest.approx(100 * 0.5 / 4, abs=0.1)
    assert not numeric_noise(answers(1, 2, 3, -0.001), answers(1, 2, 3, 0.5), 1e-5)["within"]


def test_many_close_answers_do_not_drown_a_large_difference():
    """That all of them turned the same way by chance is next to impossible."""
    close = [0.01 * (-1) ** n for n in range(40)]
    base, run = answers(*[-1] * 30, *close), answers(*[1] * 30, *close)
    found = numeric_noise(base, run, NATS)
    assert found["turning"] > 30 and not found["within"]


def test_it_does_not_matter_which_of_the_two_is_called_base():
    one, other = answers(0.01, -0.02, 0.4), answers(-0.03, -0.01, -0.5)
    there, back = numeric_noise(one, other, NATS), numeric_noise(other, one, NATS)
    assert there["sign_lost"] == pytest.approx(back["sign_lost"])
    assert there["points"] == pytest.approx(back["points"])


def test_no_difference_is_not_within_anything():
    found = numeric_noise(answers(0.001), answers(0.001), NATS)
    assert found["sign_lost"] == 1.0 and not found["within"]


def test_answers_that_nobody_weighed_have_no_noise_that_could_be_told():
    generated = Scores(np.ones(1), None)
    assert numeric_noise(generated, answers(1.0), NATS) is None
    assert numeric_noise(answers(1.0), generated, NATS) is None


def test_of_thousands_of_answers_the_sum_is_as_good_as_normal():
    margins = np.random.default_rng(0).normal(0, 0.1, 3000)
    base, run = answers(*margins), answers(*(margins + 0.001))
    lead = run.values.sum() - base.values.sum()
    mean, variance = lead, 0.0
    for scores, side in ((run, 1), (base, -1)):
        p = np.array([statistics.NormalDist().cdf(-abs(m) / NATS) for m in scores.margins])
        mean += side * (p * (1 - 2 * scores.values)).sum()
        variance += (p * (1 - p)).sum()
    expected = statistics.NormalDist(mean, math.sqrt(variance)).cdf(0.5)
    assert lead > 0 and 0.01 < expected < 0.99
    assert numeric_noise(base, run, NATS)["sign_lost"] == pytest.approx(expected, abs=1e-3)


@given(st.integers(200, 900), st.integers(0, 400))
@settings(max_examples=25, deadline=None)
def test_what_cannot_be_is_told_as_zero_whatever_rounding_leaves(ahead, seed):
    """A minus sign before 0 would be noise of the arithmetic itself."""
    margins = np.random.default_rng(seed).normal(0, 0.1, 4000)
    lead = margins.copy()
    lead[np.flatnonzero(margins < 0)[:ahead]] = 1.0
    lost = numeric_noise(answers(*margins), answers(*lead), 0.01)["sign_lost"]
    assert math.copysign(1, lost) == 1 and lost < 1e-9


def test_hundreds_of_close_answers_are_counted_as_one_by_one():
    margins = [0.03 * math.sin(n) for n in range(500)]
    base, run = answers(*margins), answers(*(margin + 0.01 for margin in margins))
    normal = statistics.NormalDist()
    # Place k of the counts: how likely the run is ahead by k - 1000.
    counts, gap = np.zeros(2001), int(run.values.sum() - base.values.sum())
    counts[1000 + gap] = 1
    for scores, side in ((run, 1), (base, -1)):
        for score, margin in zip(*scores, strict=True):
            p = normal.cdf(-abs(margin) / NATS)
            counts = (1 - p) * counts + p * np.roll(counts, side if score == 0 else -side)
    assert gap > 0
    assert numeric_noise(base, run, NATS)["sign_lost"] == pytest.approx(counts[:1001].sum())


def test_bfloat16_rounds_more_coarsely_than_float32():
    assert 0 < USUAL_NATS["float32"] < USUAL_NATS["bfloat16"]

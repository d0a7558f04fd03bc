"""Statistics of seeds, held against simulations whose spreads are known and against NumPy."""

import math

import numpy as np
import pytest
from scipy import stats

from scripts.lib.compare.between_seeds import (
    Spread,
    interval_of,
    mean_effect,
    pooled_spread,
    seed_limit,
    student,
)

TRUTH = 2.0
"""Points by which all questions and seeds improve on average in the simulations."""


def simulated(rng, seeds, questions, *, of_seed, of_question, of_answer):
    """Return the changes of a training whose spreads are known."""
    return (
        TRUTH
        + of_seed * rng.standard_normal((seeds, 1))
        + of_question * rng.standard_normal((1, questions))
        + of_answer * rng.standard_normal((seeds, questions))
    )


def test_the_mean_the_spreads_and_the_interval_are_those_of_the_formula():
    changes = np.array([[100.0, 0, 0, 0], [100, 100, 0, -100], [0, 0, 0, 100]])
    found = mean_effect(changes, unit="points")
    means, questions = changes.mean(axis=1), changes.mean(axis=0)
    assert found["difference"] == pytest.approx(changes.mean())
    assert found["seed_sd"] == pytest.approx(means.std(ddof=1))
    assert found["seed_range"] == [means.min(), means.max()]
    assert found["question_stderr"] == pytest.approx(questions.std(ddof=1) / 2)
    half = math.sqrt(
        (stats.t.ppf(0.975, 2) ** 2) * means.var(ddof=1) / 3
        + (stats.t.ppf(0.975, 3) ** 2) * questions.var(ddof=1) / 4
    )
    assert found["interval"] == pytest.approx([changes.mean() - half, changes.mean() + half])
    assert (found["seeds"], found["n"], found["verdict"]) == (3, 4, "undecided")


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("of_seed", "of_question", "of_answer"),
    [(0, 30, 0), (0, 0, 30), (3, 10, 30), (30, 30, 30)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, of_seed, of_question, of_answer):
    """At least 95 %, less three standard errors of the simulation; never much wider than needed."""
    rng = np.random.default_rng(seeds)
    worlds, questions = 500, 40
    spreads = {"of_seed": of_seed, "of_question": of_question, "of_answer": of_answer}
    held, widths = 0, []
    for _ in range(worlds):
        found = mean_effect(simulated(rng, seeds, questions, **spreads), unit="points")
        low, high = found["interval"]
        held += low <= TRUTH <= high
        widths.append(high - low)
    assert held / worlds >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / worlds)
    if not of_seed and not of_answer:  # questions alone: nothing is counted twice
        assert held / worlds <= 0.95 + 3 * math.sqrt(0.95 * 0.05 / worlds)
    variance = of_seed**2 / seeds + (of_question**2 + of_answer**2 / seeds) / questions
    variance += of_answer**2 / (seeds * questions)
    widest = 2 * student(seeds - 1) * math.sqrt(variance)
    assert np.median(widths) < 1.1 * widest


def test_the_interval_of_two_groups_holds_their_difference():
    rng = np.random.default_rng(7)
    held, worlds = 0, 500
    for _ in range(worlds):
        questions = 20 * rng.standard_normal((1, 60))
        groups = [
            mean + questions + 4 * rng.standard_normal((k, 1)) + 20 * rng.standard_normal((k, 60))
            for mean, k in ((5, 3), (1, 2))
        ]
        spread = pooled_spread([group.mean(axis=1).tolist() for group in groups])
        apart = groups[0].mean(axis=0) - groups[1].mean(axis=0)
        low, high = interval_of(
            float(apart.mean()), apart.std(ddof=1) / math.sqrt(60), 60, spread, 1 / 3 + 1 / 2
        )
        held += low <= 4 <= high
    assert held / worlds >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / worlds)


@pytest.mark.parametrize(("ones", "others"), [(1, 1), (3, 1), (3, 3)])
def test_another_seed_alone_goes_beyond_the_limit_in_one_case_of_twenty(ones, others):
    rng = np.random.default_rng(3)
    worlds, beyond = 1500, 0
    for _ in range(worlds):
        groups = [rng.normal(0, 2.5, 3), rng.normal(9, 2.5, 4)]
        spread = pooled_spread([group.tolist() for group in groups])
        one, other = rng.normal(0, 2.5, ones).mean(), rng.normal(0, 2.5, others).mean()
        beyond += abs(one - other) > seed_limit(spread, 1 / ones + 1 / others)
    assert beyond / worlds == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / worlds))


def test_the_pooled_spread_weighs_groups_by_their_degrees_of_freedom():
    found = pooled_spread([[1, 3], [0, 2, 4, 6]])
    assert found.degrees == 4
    assert found.sd == pytest.approx(math.sqrt((1 * 2 + 3 * np.var([0, 2, 4, 6], ddof=1)) / 4))


@pytest.mark.parametrize("degrees", [1, 2, 3, 30, 14_041])
def test_students_quantile_is_scipys(degrees):
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees))


def test_equal_seeds_have_no_spread_and_the_interval_of_the_questions_alone():
    row = [100.0] * 30 + [0.0] * 60 + [-100.0] * 10
    found = mean_effect(np.array([row, row, row]), unit="points")
    assert found["seed_sd"] == 0 and found["seed_range"] == [20.0, 20.0]
    half = student(99) * found["question_stderr"]
    assert found["interval"] == pytest.approx([20 - half, 20 + half])
    assert found["verdict"] == "better"
    assert seed_limit(Spread(sd=0.0, degrees=2), 2) == 0


def test_two_seeds_that_disagree_decide_nothing_however_many_questions_there_are():
    rng = np.random.default_rng(5)
    changes = rng.normal(0, 10, (2, 5000)) + np.array([[1.0], [5.0]])
    found = mean_effect(changes, unit="points")
    assert found["difference"] == pytest.approx(3, abs=0.5)
    assert found["verdict"] == "undecided" and found["interval"][1] > 20


def test_one_question_has_no_interval_and_decides_nothing():
    found = mean_effect(np.array([[100.0], [0.0], [100.0]]), unit="points")
    assert found["question_stderr"] is None and found["interval"] is None
    assert (found["verdict"], found["n"]) == ("undecided", 1)
    assert found["seed_sd"] == pytest.approx(np.std([100, 0, 100], ddof=1))


def test_questions_that_all_change_alike_are_decided_by_their_number():
    """As exact McNemar decides: five in one direction may be luck, six are not."""
    for questions, verdict in ((5, "undecided"), (6, "better"), (120, "better")):
        found = mean_effect(np.full((3, questions), 100.0), unit="points")
        assert found["interval"] is None and found["verdict"] == verdict
    assert mean_effect(np.full((3, 120), -100.0), unit="points")["verdict"] == "worse"
    assert mean_effect(np.zeros((3, 9)), unit="points")["verdict"] == "unchanged"


def test_a_lower_loss_is_better():
    rng = np.random.default_rng(1)
    changes = rng.normal(-0.8, 0.1, (3, 200))
    assert mean_effect(changes, unit="nats")["verdict"] == "better"
    assert mean_effect(-changes, unit="nats")["verdict"] == "worse"

"""Differences that are decided together."""

import itertools
import random

import pytest
from scipy import stats

from scripts.lib.score.corrections import decide_together, holm
from scripts.lib.score.statistics import paired_difference


def closed_testing(p_values):
    """Return corrected p-values by testing every intersection: the way that Holm's is short for."""
    places = range(len(p_values))
    found = []
    for place in places:
        sets = [s for m in places for s in itertools.combinations(places, m + 1) if place in s]
        found.append(max(min(1.0, len(s) * min(p_values[p] for p in s)) for s in sets))
    return found


def test_holms_correction_is_closed_testing_with_bonferronis():
    rng = random.Random(3)
    for size in range(1, 8):
        for _ in range(20):
            p_values = [rng.random() ** rng.choice((1, 4)) for _ in range(size)]
            assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_a_table_made_by_hand():
    # 0.01 * 4; 0.02 * 3; 0.03 * 2; 0.04 * 1, but none below one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_verdict_follows_the_corrected_p_value():
    # 7 of 8 flips one way: 0.0703; 9 of 10: 0.0215; 10 of 10: 0.00195.
    flips = {"a": (0, 10), "b": (1, 9), "c": (1, 7), "d": (0, 0)}
    family = {
        name: paired_difference(
            [1] * lost + [0] * gained + [1] * 5, [0] * lost + [1] * gained + [1] * 5
        )
        for name, (lost, gained) in flips.items()
    }
    assert [one["verdict"] for one in family.values()] == [
        "better", "better", "undecided", "unchanged",
    ]  # fmt: skip
    raw = {name: one["p_value"] for name, one in family.items()}
    decide_together([*family.values()], "categories")
    assert {name: one["p_value"] for name, one in family.items()} == raw
    assert family["a"]["p_corrected"] == pytest.approx(4 * raw["a"])
    assert family["b"]["p_corrected"] == pytest.approx(3 * raw["b"])
    assert [one["verdict"] for one in family.values()] == [
        "better", "undecided", "undecided", "unchanged",
    ]  # fmt: skip
    assert {one["family"] for one in family.values()} == {"categories"}


def test_luck_alone_decides_a_family_in_at_most_one_case_of_twenty():
    rng = random.Random(11)
    found = 0
    for _ in range(400):
        family = [
            paired_difference(
                [rng.random() < 0.5 for _ in range(60)], [rng.random() < 0.5 for _ in range(60)]
            )
            for _ in range(6)
        ]
        decide_together(family, "subjects")
        found += any(one["verdict"] in ("better", "worse") for one in family)
    # 400 cases at 5 % have a standard error of 1.1 points.
    assert found / 400 < 0.05 + 3 * 0.011


def test_the_table_of_the_how_to():
    """65.92 against 64.93 of 14,042 by its own errors; what pairing does to 30 flips of 220."""
    n, before, after = 14_042, 0.6592, 0.6493
    error = ((before * (1 - before) + after * (1 - after)) / n) ** 0.5
    assert (before - after) / error == pytest.approx(1.74, abs=0.01)
    base = [1] * 22 + [0] * 8 + [1] * 129 + [0] * 61
    run = [0] * 22 + [1] * 8 + [1] * 129 + [0] * 61
    found = paired_difference(base, run)
    assert (found["n"], found["gained"], found["lost"]) == (220, 8, 22)
    # One-sided the paired test has .008 and the unpaired one .080: a tenth.
    assert found["p_value"] / 2 == pytest.approx(0.008, abs=0.0005)
    assert found["p_value"] == pytest.approx(stats.binomtest(8, 30).pvalue)
    first, second = sum(base) / 220, sum(run) / 220
    unpaired = ((first * (1 - first) + second * (1 - second)) / 220) ** 0.5
    assert stats.norm.sf((first - second) / unpaired) == pytest.approx(0.080, abs=0.001)
    assert found["verdict"] == "worse"

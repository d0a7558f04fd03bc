"""What a judge says, what it decides, and what the figures make of it."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from scripts.lib.benchmarks.judged_pairs.scores import (
    JudgedPrompt,
    figures,
    part_figures,
    rate_with_ties,
)
from scripts.lib.judge.prompt import CRITERIA, Pair, judge_prompts, request_text
from scripts.lib.judge.verdicts import decide, read_verdict

PAIR = Pair(id="prompts:0", category=None, request="Say hi.", reference=None, base="Hi", run="Ho")


def prompt(base_first, run_first, *, category=None, equal=False):
    return JudgedPrompt(category=category, equal=equal, base_first=base_first, run_first=run_first)


WIN, LOSS, TIE = prompt("B", "A"), prompt("A", "B"), prompt("C", "C")
ALWAYS_A = prompt("A", "A")
EQUAL = prompt(None, None, equal=True)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A", "A"),
        (" b\n", "B"),
        ("**C**", "C"),
        ("[[B]]", "B"),
        ("Verdict: A.", "A"),
        ("My verdict is: [B]", "B"),
        ("Answer A", "A"),
        ("Answer B is better.", "B"),
        ("Tie.", "C"),
        ("C (a tie)", "C"),
        ("The first one is wrong about the date.\n\nB", "B"),
        ("B\n\nThe first one is wrong about the date.", "B"),
        ("<think>A? No, the date is wrong.\nA</think>\n\nB", "B"),
        ("I prefer [[A]]. Really [[A]]", "A"),
        ("", None),
        ("D", None),
        ("AB", None),
        ("A\nB", None),
        ("[[A]] or [[B]]", None),
        ("A is not better than B", None),
        ("A: wrong. B: right.", None),
        ("Both answers have their merits.", None),
        ("A cat sat on the mat.", None),
    ],
)
def test_a_verdict_is_read_and_never_guessed(reply, verdict):
    assert read_verdict(reply) == verdict


def test_a_win_needs_both_orders_or_one_and_a_tie():
    decisions = {
        (one, other): decide(one, other)
        for one, other in itertools.product(("A", "B", "C", None), repeat=2)
    }
    wins = {pair for pair, decision in decisions.items() if decision == "win"}
    losses = {pair for pair, decision in decisions.items() if decision == "loss"}
    assert wins == {("B", "A"), ("B", "C"), ("C", "A")}
    assert losses == {("A", "B"), ("A", "C"), ("C", "B")}


def test_the_two_prompts_differ_in_the_order_of_the_answers_only():
    base_first, run_first = judge_prompts(PAIR, None)
    assert base_first.replace("Hi", "#").replace("Ho", "Hi").replace("#", "Ho") == run_first
    assert CRITERIA in base_first
    assert "<reference>" not in base_first


def test_criteria_and_reference_stand_in_the_prompt():
    pair = Pair(**{**vars(PAIR), "reference": "Hello there"})
    for text in judge_prompts(pair, "Look at spelling only."):
        assert "Look at spelling only." in text and CRITERIA not in text
        assert "<reference>\nHello there\n</reference>" in text


def test_a_conversation_shows_its_roles_and_a_single_turn_does_not():
    turns = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Hi"}]
    assert request_text(turns) == "[system]\nBe terse.\n\n[user]\nHi"
    assert request_text(turns[1:]) == "Hi"


def test_figures_by_hand():
    found = part_figures([WIN, WIN, WIN, LOSS, TIE, ALWAYS_A, EQUAL, prompt("B", None)])
    assert (found["n"], found["wins"], found["losses"], found["ties"]) == (8, 3, 1, 4)
    assert found["equal"] == 1
    assert found["win_rate"] == pytest.approx((3 + 4 / 2) / 8)
    assert found["p_value"] == pytest.approx(binomtest(3, 4).pvalue) == pytest.approx(0.625)
    assert (found["readings"], found["unreadable"]) == (14, 1)
    # With a preference: four decided ones (a half each), the one that is always A, and a B alone.
    assert found["first_place"]["prompts"] == 6
    assert found["first_place"]["rate"] == pytest.approx((4 * 0.5 + 1 + 0) / 6)
    assert found["consistency"]["prompts"] == 6
    assert found["consistency"]["rate"] == pytest.approx(5 / 6)


def test_a_judge_that_always_takes_the_first_decides_nothing():
    found = part_figures([ALWAYS_A] * 30)
    assert (found["wins"], found["losses"], found["ties"]) == (0, 0, 30)
    assert found["first_place"]["rate"] == 1.0
    assert found["first_place"]["interval"][0] > 0.85
    assert found["consistency"]["rate"] == 0.0
    assert (found["win_rate"], found["verdict"]) == (0.5, "undecided")


def test_a_judge_without_regard_to_order_has_no_position_bias():
    found = part_figures([WIN, LOSS] * 20)
    assert found["first_place"]["rate"] == 0.5
    assert found["consistency"]["rate"] == 1.0


def test_verdicts_in_words():
    assert part_figures([WIN] * 9)["verdict"] == "better"
    assert part_figures([LOSS] * 9)["verdict"] == "worse"
    assert part_figures([WIN] * 3)["verdict"] == "undecided"
    assert part_figures([EQUAL] * 3)["verdict"] == "unchanged"


def test_nothing_judged_gives_no_rate_and_no_error():
    found = figures([])
    assert found["n"] == 0 and found["win_rate"] is None and found["interval"] is None
    assert found["first_place"]["rate"] is None and found["consistency"]["rate"] is None
    assert part_figures([EQUAL])["first_place"]["rate"] is None


def test_categories_add_up_to_the_whole():
    mixed = [prompt("B", "A", category="law"), prompt("A", "B", category="art"), EQUAL]
    found = figures(mixed)
    assert list(found["categories"]) == ["art", "law"]
    assert found["categories"]["law"]["wins"] == found["categories"]["art"]["losses"] == 1
    assert found["n"] == 3, "a prompt without a category counts in the whole"


@pytest.mark.parametrize(
    ("wins", "losses", "n"), [(7, 2, 10), (5, 1, 100), (0, 3, 12), (40, 40, 90), (30, 2, 32)]
)
def test_the_ends_of_the_interval_are_where_the_score_test_begins_to_refuse(wins, losses, n):
    """The likeliest shares under an assumed difference, found without the formula."""
    for end in rate_with_ties(wins, losses, n)["interval"]:
        assumed = 2 * end - 1

        def unlikely(lost, assumed=assumed):
            shares = np.clip([lost + assumed, lost, 1 - 2 * lost - assumed], 1e-300, 1)
            return -float(np.dot([wins, losses, n - wins - losses], np.log(shares)))

        bounds = (max(0.0, -assumed), (1 - assumed) / 2)
        lost = minimize_scalar(unlikely, bounds=bounds, method="bounded").x
        variance = n * (2 * lost + assumed - assumed**2)
        score = (wins - losses - n * assumed) / math.sqrt(variance)
        assert abs(score) == pytest.approx(1.95996, abs=2e-3)


@pytest.mark.parametrize(("wins", "losses", "n"), [(0, 0, 10), (10, 0, 10), (0, 1, 1), (3, 1, 8)])
def test_the_interval_has_a_width_holds_the_rate_and_mirrors_the_other_side(wins, losses, n):
    found, other = rate_with_ties(wins, losses, n), rate_with_ties(losses, wins, n)
    low, high = found["interval"]
    assert 0 <= low <= found["win_rate"] <= high <= 1 and high - low > 0.1
    assert other["interval"] == pytest.approx([1 - high, 1 - low], abs=1e-6)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    shares, n, rounds = (0.3, 0.2, 0.5), 60, 1500
    hits = 0
    for wins, losses, _ in rng.multinomial(n, shares, size=rounds):
        low, high = rate_with_ties(int(wins), int(losses), n)["interval"]
        hits += low <= 0.55 <= high
    assert hits / rounds == pytest.approx(0.95, abs=0.02)


def test_the_page_shows_what_the_judge_reads():
    page = (Path(__file__).parents[3] / "docs/judged_pairs.md").read_text()
    shown = " ".join(page.replace("\n>", "\n").replace("&lt;", "<").split())
    text, _ = judge_prompts(Pair(**{**vars(PAIR), "reference": "Hello there"}), None)
    for part in re.split(r"\n\n|\n(?:Say hi\.|Hello there|Hi|Ho)\n", text):
        assert " ".join(part.split()) in shown, part

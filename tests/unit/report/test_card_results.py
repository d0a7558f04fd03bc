"""What the card of a published model says of its results."""

import re

import pytest

from scripts.lib.benchmarks.held_out.comparison import compare_held_out
from scripts.lib.report.card_results import results
from tests.unit.benchmarks.held_out.test_held_out_comparison import AFTER, BEFORE, score
from tests.unit.benchmarks.judged_pairs.test_comparison_judged import LOCAL, REMOTE, Judged
from tests.unit.judged_data import pairs
from tests.unit.report_data import comparison, said

ASKED = pairs(20, lambda n: f"short {n}", lambda n: f"short {n}" if n < 5 else f"long answer {n}")
EMPTY = {"benchmarks": {}, "held_out": {}, "judged": {}}
EMPTY |= {"contamination": {"method": None, "candidates": {}}}


def card(document, name="gentle"):
    return "\n\n".join(results(document, name))


def cells(text, first):
    """Return the cells of the row that begins with a word."""
    (row,) = re.findall(rf"(?m)^\| {re.escape(first)} \|(.*)\|$", text)
    return [cell.strip() for cell in row.split(" | ")]


@pytest.fixture
def held_out():
    scores = [
        score("smollm2", BEFORE, split="valid"),
        score("gentle", AFTER, base="smollm2", split="valid"),
        score("eager", BEFORE, base="smollm2", split="valid", unmerged=True),
    ]
    return EMPTY | {"held_out": {"domain": compare_held_out("domain", scores)}}


def judged(tmp_path, judge=LOCAL):
    return Judged(tmp_path, ASKED, judge=judge).compare(base="smollm2")


def test_every_score_and_difference_of_the_model_is_in_the_card():
    document = comparison()
    text = card(document)
    for benchmark, found in document["benchmarks"].items():
        part = text.partition(f"### {benchmark}\n")[2]
        for category, change in found["differences"]["gentle"].items():
            own = found["candidates"]["gentle"][category]
            row = cells(part.partition("###")[0], category)
            assert row[0] == f"{own['n']:,}" and row[2] == f"{100 * own['accuracy']:.2f}"
            assert row[3] == said(change)
    assert "eager" not in text and "gentle" not in text


def test_held_out_results_are_in_the_card_with_what_they_hide(held_out):
    text = card(held_out)
    view = held_out["held_out"]["domain"]
    before, after = (view["candidates"][name]["perplexity"] for name in ("smollm2", "gentle"))
    assert cells(text, "Perplexity per token")[:2] == [f"{before:.2f}", f"{after:.2f}"]
    assert cells(text, "Stops by itself (%)")[:2] == ["10.00", "90.00"]
    assert cells(text, "Stops by itself (%)")[2].startswith("+80.00, +48.76 to ")
    assert cells(text, "Bits per byte")[2] == ""
    assert "These conversations are the valid split" in text
    assert "30 held-out conversations" in text
    assert "eager" not in text and "gentle" not in text


def test_win_rates_are_in_the_card_with_their_intervals_and_categories(tmp_path):
    document = judged(tmp_path)
    found = document["judged"]["duel"]["candidates"]["gentle"]
    found["categories"]["a|b\nc"] = found["categories"].pop("law")
    text = card(document)
    assert cells(text, "all")[:4] == ["20", "15", "0", "5"]
    low, high = found["interval"]
    assert cells(text, "all")[4] == f"87.50 ({100 * low:.2f} to {100 * high:.2f})"
    assert cells(text, r"a\|b c")[0] == cells(text, "art")[0] == "10"
    assert "Judged by big; greedy answers of at most 32 tokens" in text


def test_the_address_of_a_judge_is_nobody_s_business_but_what_it_refused_is(tmp_path):
    judge = REMOTE | {"model": "m", "criteria": "Spelling.", "refused": {"temperature": 30}}
    text = card(judged(tmp_path, judge))
    assert "Judged by m;" in text and "It was told: Spelling." in text
    assert "refuses temperature: 30 of 30 replies" in text
    assert "judge.example" not in text


def test_a_card_promises_no_results_where_there_are_none(held_out):
    assert card(EMPTY) == ""
    nobody = EMPTY | {"judged": {"duel": {"judge": {}, "answers": {}, "candidates": {}}}}
    assert card(nobody) == ""
    assert [line for line in card(held_out).splitlines() if line.startswith("## ")] == [
        "## Held-out conversations"
    ]

"""Held-out results before and after: numbers by hand, tables, and what the report says."""

import csv
import json
import math

import numpy as np
import pytest

from scripts.lib.benchmarks.held_out.comparison import HeldOutScore, compare_held_out
from scripts.lib.benchmarks.held_out.scores import summary
from scripts.lib.benchmarks.held_out.tables import sentence
from scripts.lib.compare.tables import write_tables
from scripts.lib.errors import ScoreError
from scripts.lib.report.page import render_page
from scripts.lib.score.statistics import SIGNIFICANCE
from tests.unit.report.test_report import Page
from tests.unit.report_data import comparison, evidence

PROTOCOL = {"kind": "held_out", "max_new_tokens": 16, "limit": None, "dtype": "float32"}
PROTOCOL["chat_template"] = True
COUNT = 30


def lines(nats, keeps, *, prompts="p", tokens="t"):
    """Return the lines of a candidate: conversation n has 3 + n tokens and 10 bytes."""
    return [
        {
            "question_id": f"test:{n}",
            "prompt_hash": f"{prompts}{n}",
            "token_hash": f"{tokens}{n}",
            "nats": nats(n),
            "tokens": 3 + n,
            "bytes": 10,
            "stops": float(keeps(n)),
            "format": float(keeps(n)),
            "language": None if n == 0 else 1.0,
            "wrong": [],
            "answer": "1 tea",
            "response": "1 tea",
        }
        for n in range(COUNT)
    ]


def score(name, kept, *, base=None, split="test", over=0, unmerged=False, **protocol):
    document = {
        "split": split,
        **summary(kept),
        "forms": ["one line"],
        "references_over_limit": over,
        "protocol": PROTOCOL | protocol,
        "prompt_set": kept[0]["prompt_hash"],
    }
    by_id = {one["question_id"]: one for one in kept}
    return HeldOutScore(name=name, base=base, unmerged=unmerged, document=document, kept=by_id)


BEFORE = lines(lambda n: 4.0 + n, lambda n: n % 10 == 0)
AFTER = lines(lambda n: 1.0 + n / 2, lambda n: n % 10 > 0)


def compared(**options):
    return compare_held_out("domain", [score("base", BEFORE), score("run", AFTER, base="base")])


def test_perplexity_and_bits_are_those_of_the_whole_set():
    found = compared()["candidates"]["base"]
    nats, tokens = sum(4 + n for n in range(COUNT)), sum(3 + n for n in range(COUNT))
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens))
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / (10 * COUNT))
    assert (found["n"], found["tokens"], found["bytes"]) == (COUNT, tokens, 10 * COUNT)


def test_the_difference_of_losses_is_the_log_of_the_ratio_of_perplexities():
    found = compared()
    change = found["differences"]["run"]["loss"]
    before, after = (found["candidates"][name]["perplexity"] for name in ("base", "run"))
    assert change["difference"] == pytest.approx(math.log(after / before))
    tokens = sum(3 + n for n in range(COUNT))
    per_conversation = [(1 + n / 2 - 4 - n) * COUNT / tokens for n in range(COUNT)]
    stderr = np.std(per_conversation, ddof=1) / math.sqrt(COUNT)
    assert change["stderr"] == pytest.approx(stderr)
    assert (change["improved"], change["worsened"], change["verdict"]) == (COUNT, 0, "better")
    assert change["p_value"] < SIGNIFICANCE


def test_a_model_that_broke_has_a_perplexity_that_json_can_hold():
    found = summary(lines(lambda n: 1e9, lambda n: False))
    assert json.loads(json.dumps(found, allow_nan=False))["perplexity"] > 1e300


def test_a_greater_loss_is_worse():
    scores = [score("base", AFTER), score("run", BEFORE, base="base")]
    change = compare_held_out("domain", scores)["differences"]["run"]["loss"]
    assert change["difference"] > 0 and change["verdict"] == "worse"


def test_adherence_is_compared_by_the_exact_test_on_flipped_answers():
    found = compared()
    change = found["differences"]["run"]["stops"]
    assert (change["gained"], change["lost"], change["n"]) == (27, 3, COUNT)
    assert change["difference"] == pytest.approx(80)
    assert change["test"] == "McNemar"
    tail = sum(math.comb(30, k) for k in range(4)) / 2**30
    assert change["p_value"] == pytest.approx(2 * tail)
    rate = found["candidates"]["base"]["adherence"]["stops"]
    assert rate["stderr"] == pytest.approx(math.sqrt(0.1 * 0.9 / (COUNT - 1)))


def test_what_cannot_be_judged_is_left_out():
    found = compared()
    assert found["candidates"]["run"]["adherence"]["language"]["n"] == COUNT - 1
    nothing = [line | {"language": None} for line in BEFORE]
    scores = [score("base", nothing), score("run", nothing, base="base")]
    found = compare_held_out("domain", scores)
    assert found["candidates"]["run"]["adherence"]["language"] is None
    assert found["differences"]["run"]["language"] is None
    assert "language" not in sentence(found, "run")


def test_other_prompts_than_those_of_the_base_are_refused():
    other = lines(lambda n: 1.0, lambda n: True, prompts="other")
    with pytest.raises(ScoreError, match=r"'run' and its base 'base' .* the same prompts"):
        compare_held_out("domain", [score("base", BEFORE), score("run", other, base="base")])


@pytest.mark.parametrize("change", [{"max_new_tokens": 8}, {"split": "valid"}])
def test_another_protocol_is_refused(change):
    scores = [score("base", BEFORE), score("run", AFTER, base="base", **change)]
    with pytest.raises(ScoreError, match="under the same protocol"):
        compare_held_out("domain", scores)


def test_notes_say_what_the_numbers_hide():
    scores = [
        score("base", BEFORE, split="valid", over=2),
        score("run", AFTER, base="base", split="valid", over=2, unmerged=True),
        score("other", lines(lambda n: 9.0, lambda n: True, prompts="q"), split="valid", over=2),
    ]
    notes = {note["code"]: note["text"] for note in compare_held_out("d", scores)["notes"]}
    assert notes.keys() == {
        "valid_split",
        "references_over_limit",
        "unmerged",
        "prompts_differ_between_bases",
    }
    assert "stopped early" in notes["valid_split"]
    assert not compared()["notes"]


def test_conversations_that_were_left_out_are_said_to_be():
    scores = [score("base", BEFORE, left_out=3), score("run", AFTER, base="base", left_out=3)]
    (note,) = compare_held_out("d", scores)["notes"]
    assert note["text"] == "Left out, as longer than the model's context with an answer: 3."
    none = [score("base", BEFORE, left_out=0), score("run", AFTER, base="base", left_out=0)]
    assert compare_held_out("d", none)["notes"] == []


def test_a_sentence_says_in_words_what_became_better_and_worse():
    before, after = (compared()["candidates"][n]["perplexity"] for n in ("base", "run"))
    assert sentence(compared(), "run") == (
        "On the held-out conversations, run is better than base at predicting the answers"
        f" (perplexity {before:.2f} → {after:.2f}), stopping by itself (10 → 90 %) and keeping the"
        " form (10 → 90 %); it is unchanged in keeping the language (100 → 100 %)."
    )
    worse = compare_held_out("d", [score("base", AFTER), score("run", BEFORE, base="base")])
    assert "run is worse than base at predicting" in sentence(worse, "run")


@pytest.fixture
def document():
    """A comparison of two ordinary benchmarks and a held-out one."""
    base, gentle, eager = (c["name"] for c in comparison()["candidates"])
    scores = [
        score(base, BEFORE),
        score(gentle, AFTER, base=base),
        score(eager, BEFORE, base=base, unmerged=True),
    ]
    return comparison() | {"held_out": {"domain": compare_held_out("domain", scores)}}


def test_csv_and_markdown_hold_the_same_numbers(document, tmp_path):
    write_tables(document, tmp_path, "Made up")
    with (tmp_path / "comparison.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["benchmark"] == "domain"]
    found = {(row["candidate"], row["category"]): row for row in rows}
    view = document["held_out"]["domain"]
    own = found["gentle", "perplexity"]
    assert float(own["perplexity"]) == view["candidates"]["gentle"]["perplexity"]
    assert float(own["difference"]) == view["differences"]["gentle"]["loss"]["difference"]
    assert (own["accuracy"], own["verdict"]) == ("", "better")
    stops = found["gentle", "stops"]
    assert (float(stops["accuracy"]), stops["correct"], stops["gained"]) == (0.9, "27", "27")
    assert found["smollm2", "format"]["difference"] == ""
    text = (tmp_path / "comparison.md").read_text()
    assert "## domain" in text and sentence(view, "gentle") in text
    assert "| Stops by itself (%) | 10.00 | 90.00 (+80.00" in text
    assert json.loads((tmp_path / "comparison.json").read_text())["held_out"]["domain"] == view


def test_the_report_has_a_section_with_a_sentence_and_a_table(document):
    spec, manifests = evidence()
    page = Page(render_page(spec, document, manifests))
    view = document["held_out"]["domain"]
    # In the answer, and above the table.
    assert page.text.count(sentence(view, "gentle")) == 2
    assert "Stops by itself (%)" in page.text and "27 gained, 3 lost" in page.text
    assert "domain: Not merged: eager." in page.text


def test_names_and_forms_are_escaped(document):
    view = document["held_out"]["domain"]
    view["forms"] = ["the sign <script>"]
    document["held_out"] = {"<b>domain</b>": view}
    spec, manifests = evidence()
    html = render_page(spec, document, manifests)
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "<b>domain</b>" not in html


def test_a_comparison_of_held_out_conversations_alone_makes_a_page(document):
    document["benchmarks"] = {}
    spec, manifests = evidence()
    page = Page(render_page(spec, document, manifests))
    assert "Domain" in page.text and "No fine-tune was compared" not in page.text
    assert "#scores" not in render_page(spec, document, manifests)

"""Properties of the ways in which a generated answer is compared with the expected one."""

import json

import pandas as pd
import pytest

from scripts.lib.benchmarks.exact_match import scores as exact_match_scores
from scripts.lib.benchmarks.exact_match.numbers import numbers_in
from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.exact_match.scores import Metric, grade, normalized
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.errors import ScoreError
from scripts.lib.score.scoring import write_provenance
from tests.comparison_file import read_comparison


def metric(name, *, pattern=None, ignore_case=False):
    return Metric(name=name, pattern=pattern, ignore_case=ignore_case)


def right(how, response, answer):
    return grade(how, response, answer)[1]


@pytest.mark.parametrize(
    ("name", "response", "answer", "correct"),
    [
        ("exact", " 2 teas\n", "2 teas", True),
        ("exact", "2 Teas", "2 teas", False),
        ("normalized", "The  answer, is: PARIS!", "the answer is paris", True),
        ("normalized", "-5", "5", False),
        ("normalized", "1.5", "15", False),
        ("normalized", "５ (five)", "5 five", True),
        ("contains", "It is Paris, I think.", "Paris", True),
        ("contains", "It is paris.", "Paris", False),
        ("contains", "10 teas", "1", False),
        ("contains", "答えは東京です。", "東京", True),
        ("numeric", "3 + 4 = 7.", "#### 7", True),
        ("numeric", "It costs $1,200.50", "1200.5", True),
        ("numeric", "10-5", "5", True),
        ("numeric", "it is -5", "5", False),
        ("numeric", "it is \u22125", "-5", True),
        ("numeric", "答えは-1.5です", "-1.50", True),
        ("numeric", "so x = .5", "0.5", True),
        ("numeric", "5", ".5", False),
        ("numeric", "about 2e-4", "1e-4", False),
        ("numeric", "2.5E+3, I think", "2,500", True),
        ("numeric", "10e3m, or end.5", "5", True),
        ("numeric", "no idea", "5", False),
        ("numeric", "7 or 8", "7", False),
    ],
)
def test_a_metric_judges_as_it_says(name, response, answer, correct):
    assert right(metric(name), response, answer) is correct


@pytest.mark.parametrize("name", ["exact", "contains"])
def test_case_counts_unless_it_is_to_be_ignored(name):
    assert not right(metric(name), "PARIS", "Paris")
    assert right(metric(name, ignore_case=True), "PARIS", "Paris")


def test_a_regular_expression_finds_what_is_compared():
    how = metric("regex", pattern=r"answer is (\w+)")
    assert grade(how, "So the answer is B. Or the answer is C.", "B") == ("B", True)
    assert grade(how, "So the Answer is B.", "B") == (None, False)
    assert right(metric("regex", pattern=how.pattern, ignore_case=True), "The ANSWER IS b", "B")
    assert grade(metric("regex", pattern="(x)?y"), "y", "x") == (None, False)


def test_an_expected_answer_without_a_number_is_an_error_not_a_wrong_answer():
    with pytest.raises(ScoreError, match=r"has no number in `answer` \('seven'\)"):
        grade(metric("numeric"), "7", "seven")


def test_commas_count_only_between_groups_of_three_digits():
    assert [str(n) for n in numbers_in("1,200 and 3,4 and 1,2345; v1.2 -0.5")] == (
        ["1200", "3", "4", "1", "2345", "1.2", "-0.5"]
    )


def test_normalising_twice_changes_nothing():
    for text in ("The  Answer, is: -1.5!", "ＡＢＣ。", "a.-b", "..5"):
        assert normalized(normalized(text)) == normalized(text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"metric": "regex"}, "exactly one group"),
        ({"metric": "regex", "pattern": "a(b)(c)"}, "exactly one group"),
        ({"metric": "regex", "pattern": "(a"}, "exactly one group"),
        ({"metric": "exact", "pattern": "(a)"}, "is of no use to metric exact"),
    ],
)
def test_a_pattern_that_will_not_do_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ExactMatch(kind="exact_match", path="p", **settings)


def write_answers(folder, responses):
    folder.mkdir(parents=True)
    rows = [
        {
            "question_id": f"questions:{n}",
            "subject": "questions",
            "prompt_hash": str(n),
            "token_hash": str(n),
        }
        | {"response": response, "answer": "7", "correct": response == "7"}
        for n, response in enumerate(responses)
    ]
    pd.DataFrame(rows).to_parquet(folder / "questions.parquet")
    protocol = {"kind": "exact_match", "shots": 0, "chat_template": True, "limit": None}
    protocol |= {"dtype": "float32", "max_new_tokens": 8}
    protocol |= {"on_long_prompt": "error", "backend": "shared-prefix"}
    (folder / "protocol.json").write_text(json.dumps(protocol))
    write_provenance({"model": "ab12"}, {"lm-eval": "0.4"}, folder)
    return folder


def test_kept_responses_are_judged_anew_up_to_the_comparison(tmp_path):
    places = {
        "scores/base": write_answers(tmp_path / "base", ["7", "it is 7.", "8"]),
        "scores/run": write_answers(tmp_path / "run", ["= 7", "9 - 2 = 7", "8"]),
    }
    spec = {
        "kind": "exact_match",
        "benchmark": "sums",
        "categories": "none",
        "subjects": None,
        "metric": {"name": "numeric", "pattern": None, "ignore_case": False},
    }
    for name in ("base", "run"):
        out = places[f"categories/{name}"] = tmp_path / f"{name}-sums"
        out.mkdir()
        tallies = exact_match_scores.aggregate(spec, {"scores": (places[f"scores/{name}"],)}, out)
        assert tallies["Average"]["correct"] == 2
    judged = [json.loads(line) for line in (out / "sums.judged.jsonl").read_text().splitlines()]
    assert judged[1] == {
        "question_id": "questions:1",
        "correct": True,
        "answer": "7",
        "compared": "7",
        "response": "9 - 2 = 7",
    }
    candidates = [
        {"name": name, "kind": kind, "base": base, "unmerged": False}
        | {"scores": {"sums": [f"scores/{name}"]}, "categories": {"sums": f"categories/{name}"}}
        | {"judgements": {}}
        for name, kind, base in (("base", "base", None), ("run", "run", "base"))
    ]
    compared = CompareSpec.from_json(
        {"candidates": candidates, "benchmarks": ["sums"], "held_out": [], "judged": []}
    )
    (tmp_path / "table").mkdir()
    compare_runs(compared, places, {}, tmp_path / "table")
    document = read_comparison(tmp_path / "table")["benchmarks"]["sums"]
    assert document["differences"]["run"]["Average"]["difference"] == 0
    assert document["protocol"]["metric"]["name"] == "numeric"
    assert "last number in a greedy answer" in (tmp_path / "table/comparison.md").read_text()

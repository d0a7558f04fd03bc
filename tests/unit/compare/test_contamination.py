"""What stands in training rows is told for each benchmark, and what the other questions say."""

import json

import pytest

from scripts.lib.compare.comparison import compare_runs
from scripts.lib.contamination.finding import ContaminationSpec, find_contamination
from scripts.lib.score.statistics import paired_difference
from tests.comparison_file import read_comparison
from tests.unit.compare.bench import QUESTIONS, SUBJECTS, Bench, half
from tests.unit.contamination.test_finding import chat_of, lines, question, row


def text(subject: str, n: int) -> str:
    """Return the text of a question of the scores that Bench makes."""
    return " ".join(f"{subject}{n}{letter}" for letter in "abcdefghijkl") + "?"


class Searched(Bench):
    """Scores, and searches for their questions in datasets."""

    def __init__(self, root):
        super().__init__(root)
        self.benchmark = root / "benchmark"
        for subject in SUBJECTS:
            rows = [question(text(subject, n)) for n in range(QUESTIONS)]
            lines(self.benchmark / f"test/{subject}.jsonl", rows)
        self.searches = {}

    def search(self, name: str, rows: list[dict]) -> str:
        """Search a dataset for the questions; return the id of that."""
        place = self.root / name
        chat = chat_of(place, [row("hello"), *rows])
        out = self.root / f"contamination/{name}"
        out.mkdir(parents=True)
        spec = ContaminationSpec(kind="mmlu", subject=None, ngram=8, threshold=0.5)
        find_contamination(spec, self.benchmark, chat, out)
        self.searches[f"contamination/{name}"] = out
        return f"contamination/{name}"

    def trained_on(self, name: str, *ids: str, known: bool = True) -> None:
        """Say in which datasets the questions were looked for."""
        one = next(one for one in self.candidates if one["name"] == name)
        one |= {"searches": {"mmlu": list(ids)}, "data_known": known}

    def compare(self, manifests=None):
        out = self.root / "out"
        out.mkdir()
        compare_runs(self.spec(), self.artifacts, {}, out, self.searches)
        self.markdown = (out / "comparison.md").read_text()
        self.csv = (out / "comparison.csv").read_text()
        return read_comparison(out)


@pytest.fixture
def bench(tmp_path):
    bench = Searched(tmp_path)
    bench.add("base", right=half)
    # What it learnt by heart is what it gets right beside its base.
    bench.add("run", base="base", right=lambda n: half(n) or n < 10)
    return bench


PLANTED = [row(text("astronomy", n), "One.") for n in range(10)]


def test_the_others_are_compared_by_the_same_test_and_beside_all(bench):
    bench.trained_on("run", bench.search("heart", PLANTED))
    found = bench.compare()
    one = found["contamination"]["candidates"]["run"]["mmlu"]
    n = len(SUBJECTS) * QUESTIONS
    assert (one["questions"], one["found"], one["exact"], one["conversations"]) == (n, 10, 10, 10)
    before = [float(half(k)) for s in SUBJECTS for k in range(QUESTIONS)]
    after = [float(half(k) or k < 10) for s in SUBJECTS for k in range(QUESTIONS)]
    difference = dict(one["untouched"]["difference"])
    assert difference.pop("base") == "base"
    assert difference.pop("noise") is None
    assert difference == paired_difference(before[10:], after[10:])
    assert one["untouched"]["base"]["n"] == one["untouched"]["run"]["n"] == n - 10
    assert one["untouched"]["run"]["correct"] == sum(after[10:])
    everywhere = found["benchmarks"]["mmlu"]["differences"]["run"]["Average"]
    assert everywhere["gained"] == 20
    assert difference["gained"] == 15
    assert "run, mmlu: 10 of 160 questions stand in the training rows; without them +10.00" in (
        bench.markdown
    )
    assert "instead of +12.50 points" in bench.markdown
    assert "8-grams" in bench.markdown
    assert f"mmlu,Average of untouched questions,run,,base,{n - 10}," in bench.csv


def test_several_datasets_count_together_and_a_question_once(bench):
    one = bench.search("one", PLANTED[:4])
    two = bench.search("two", PLANTED[2:6])
    bench.trained_on("run", one, two)
    found = bench.compare()["contamination"]["candidates"]["run"]["mmlu"]
    assert (found["searched"], found["found"], found["conversations"]) == (2, 6, 8)
    assert found["untouched"]["run"]["n"] == len(SUBJECTS) * QUESTIONS - 6


def test_questions_that_were_not_asked_do_not_count(bench, tmp_path):
    bench = Searched(tmp_path / "few")
    bench.add("base", right=half, subjects=SUBJECTS[1:])
    bench.add("run", base="base", right=half, subjects=SUBJECTS[1:])
    planted = [*PLANTED, row(text("sociology", 3), "Two.")]
    bench.trained_on("run", bench.search("heart", planted))
    found = bench.compare()["contamination"]["candidates"]["run"]["mmlu"]
    assert (found["questions"], found["found"]) == (3 * QUESTIONS, 1)
    assert [one["question_id"] for one in found["examples"]] == ["sociology:3"]


def test_nothing_found_leaves_the_scores_as_they_are(bench):
    bench.trained_on("run", bench.search("clean", []))
    found = bench.compare()["contamination"]["candidates"]["run"]["mmlu"]
    assert (found["found"], found["untouched"], found["examples"]) == (0, None, [])
    assert "run, mmlu: 0 of 160 questions stand in the training rows." in bench.markdown


def test_where_every_question_stands_in_the_rows_nothing_is_left_to_compare(tmp_path):
    bench = Searched(tmp_path)
    bench.add("base", right=half)
    bench.add("run", base="base", right=half)
    rows = [row(text(subject, n), "1") for subject in SUBJECTS for n in range(QUESTIONS)]
    bench.trained_on("run", bench.search("all", rows))
    found = bench.compare()["contamination"]["candidates"]["run"]["mmlu"]
    assert (found["found"], found["untouched"]) == (len(SUBJECTS) * QUESTIONS, None)


def test_what_was_trained_elsewhere_is_not_known_and_is_said_to_be(bench):
    bench.trained_on("run", known=False)
    bench.compare()
    assert "run, mmlu: not known, as its training data are not at hand." in bench.markdown


def test_training_that_went_on_from_elsewhere_is_known_in_part(bench):
    bench.trained_on("run", bench.search("heart", PLANTED), known=False)
    bench.compare()
    assert "10 of 160 questions stand in the training rows of this configuration; what it was" in (
        bench.markdown
    )


def test_held_out_rows_of_what_was_trained_on_are_no_finding(bench):
    bench.trained_on("run")
    bench.compare()
    assert "splits are cut so that no conversation stands in two" in bench.markdown


def test_the_document_is_json_that_says_the_method(bench):
    bench.trained_on("run", bench.search("heart", PLANTED))
    method = bench.compare()["contamination"]["method"]
    assert "8-grams" in method
    assert "50 %" in method
    json.dumps(method)

"""Properties of MMLU's results in LLaMA-Factory's old layout."""

import json
import re

import pytest

from scripts.lib.benchmarks.mmlu.report import write_legacy
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.report.page import ReportSpec, write_report
from tests.comparison_file import read_comparison
from tests.unit.compare.bench import QUESTIONS, SUBJECTS, Bench

LEGACY = [{"benchmark": "mmlu", "subjects": None}]
ROWS = ("Average", "STEM", "Social Sciences", "Humanities", "Other")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A comparison of two candidates and its report with the old layout."""
    folder = tmp_path_factory.mktemp("legacy")
    bench = Bench(folder / "artifacts")
    bench.add("tiny", right=lambda n: n % 3 == 0)
    bench.add("tuned", right=lambda n: n % 2 == 0, base="tiny")
    for name in ("comparison", "out"):
        (folder / name).mkdir()
    named = {"candidates": bench.candidates, "benchmarks": ["mmlu"]}
    spec = CompareSpec.from_json(named | {"held_out": [], "judged": []})
    compare_runs(spec, bench.artifacts, {}, folder / "comparison")
    shown = [candidate | {"artifacts": {}} for candidate in bench.candidates]
    report = ReportSpec.from_json({"title": "T", "candidates": shown, "legacy": LEGACY})
    places = {"scores": bench.artifacts, "examples": {}}
    write_report(report, folder / "comparison", {}, folder / "out", **places)
    document = read_comparison(folder / "comparison")
    return document["benchmarks"]["mmlu"]["candidates"], folder / "out/legacy/mmlu"


@pytest.mark.parametrize("candidate", ["tiny", "tuned"])
def test_the_log_holds_the_five_rows_with_the_comparison_s_numbers(made, candidate):
    tallies, folder = made
    lines = (folder / candidate / "results.log").read_text().split("\n")
    assert [line[:15].strip() for line in lines] == list(ROWS)
    for line in lines:
        assert re.fullmatch(r" *[A-Z][A-Za-z ]+: \d+\.\d\d", line) and line[15:17] == ": "
        name, _, number = line.strip().partition(": ")
        assert number == f"{100 * tallies[candidate][name]['accuracy']:.2f}"


def test_the_predictions_are_named_by_subject_and_index_in_order(made):
    text = (made[1] / "tuned/results.json").read_text()
    found = json.loads(text)
    assert list(found) == sorted(SUBJECTS)
    for letters in found.values():
        assert list(letters) == [str(index) for index in range(QUESTIONS)]
        assert set(letters.values()) <= set("ABCD")
    assert text.startswith('{\n  "') and text.endswith("}")


def test_only_the_subjects_of_the_comparison_are_written(tmp_path):
    bench = Bench(tmp_path)
    bench.add("tiny", right=lambda n: True)
    write_legacy({}, [bench.artifacts["scores/tiny-mmlu"]], tmp_path / "out", subjects=["virology"])
    assert list(json.loads((tmp_path / "out/results.json").read_text())) == ["virology"]


def test_a_category_without_questions_has_no_line(tmp_path):
    write_legacy({"Average": {"accuracy": 1 / 3}}, [], tmp_path / "legacy", subjects=None)
    assert (tmp_path / "legacy/results.log").read_text() == "        Average: 33.33"

"""What is tested together: categories of a run, its subjects, and never other runs."""

import re
import shutil

import numpy as np
import pytest

from scripts.lib.report.page import ReportSpec, render_page
from tests.unit.compare.bench import QUESTIONS, SUBJECTS, half
from tests.unit.report_data import said


def test_another_run_changes_no_verdict_and_the_average_is_in_no_family(bench, tmp_path):
    bench.add("base", right=half)
    bench.add("mine", right=lambda n: half(n) or n in (1, 3, 5, 7, 9, 11, 13), base="base")
    alone = bench.compare()["benchmarks"]["mmlu"]["differences"]["mine"]
    for name in range(9):
        bench.add(f"other{name}", right=lambda n, name=name: (n + name) % 3 == 0, base="base")
    shutil.rmtree(bench.root / "out")
    together = bench.compare()["benchmarks"]["mmlu"]
    assert together["differences"]["mine"] == alone
    average, stem = alone["Average"], alone["STEM"]
    assert (average["family"], stem["family"]) == ("primary", "categories")
    assert average["p_corrected"] == average["p_value"]
    # Four categories with seven gains each: 2 / 128, four times.
    assert (stem["p_value"], stem["p_corrected"]) == (2 / 128, 8 / 128)
    assert (average["verdict"], stem["verdict"]) == ("better", "undecided")


def test_subjects_are_a_family_of_their_own_with_a_macro_average(bench):
    bench.add("base", right=half)
    bench.add("tuned", right=lambda n: half(n) or n == 1, base="base")
    mmlu = bench.compare()["benchmarks"]["mmlu"]
    assert list(mmlu["subjects"]["base"]) == sorted(SUBJECTS)
    for name, found in mmlu["subjects"].items():
        expected = np.mean([one["accuracy"] for one in found.values()])
        assert mmlu["macro_averages"][name] == pytest.approx(expected)
    found = mmlu["subject_differences"]["tuned"]
    assert {one["family"] for one in found.values()} == {"subjects"}
    assert [one["n"] for one in found.values()] == [QUESTIONS] * 4
    lines = {row["category"]: row for row in bench.rows if row["candidate"] == "tuned"}
    assert lines["astronomy"]["family"] == "subjects"
    macro = ", ".join(f"{name} {100 * mean:.2f}" for name, mean in mmlu["macro_averages"].items())
    assert f"(macro): {macro}." in bench.markdown


def test_the_page_has_a_folded_table_of_subjects_with_the_largest_loss_on_top(bench):
    bench.add("base", right=half)
    bench.add("tuned", right=lambda n: half(n) or n == 1, base="base")
    document = bench.compare()
    found = document["benchmarks"]["mmlu"]["subject_differences"]["tuned"]
    document["benchmarks"]["mmlu"]["subject_differences"]["tuned"] = found | {
        "virology": {**found["virology"], "difference": -7.5}
    }
    spec = ReportSpec.from_json({"title": "t", "candidates": [], "legacy": []})
    page = render_page(spec, document, {})
    (table,) = re.findall(r"<details>\s*<summary>By subject.*?</details>", page, re.DOTALL)
    order = re.findall(r'<th scope="row">(\w+)', table)
    assert order[0] == "virology" and sorted(order) == sorted(SUBJECTS)
    assert 'class="total"' not in table and "corrected" in table
    for number in range(4):
        bench.add(f"more{number}", right=half, base="base")
    (bench.root / "out").rename(bench.root / "before")
    assert "By subject" not in render_page(spec, bench.compare(), {})


def test_a_single_subject_has_no_family_of_subjects(bench):
    bench.add("base", right=half, kind="exact_match", subjects=("orders",))
    bench.add("tuned", right=lambda n: True, base="base", kind="exact_match", subjects=("orders",))
    orders = bench.compare()["benchmarks"]["orders"]
    assert orders["subjects"] == orders["subject_differences"] == orders["macro_averages"] == {}


def test_csv_json_and_markdown_hold_the_same_figures_of_a_difference(bench):
    bench.add("base", right=half)
    bench.add("tuned", right=lambda n: half(n) or n in (1, 3), base="base")
    mmlu = bench.compare()["benchmarks"]["mmlu"]
    rows = {row["category"]: row for row in bench.rows if row["candidate"] == "tuned"}
    table = {line.split(" | ")[0].strip("| "): line for line in bench.markdown.splitlines()}
    for category, change in mmlu["differences"]["tuned"].items():
        row = rows[category]
        low, high = change["interval"]
        figures = ("difference", "p_value", "p_corrected", "detectable")
        assert [float(row[name]) for name in figures] == [change[name] for name in figures]
        assert (float(row["difference_low"]), float(row["difference_high"])) == (low, high)
        assert (row["family"], row["verdict"]) == (change["family"], change["verdict"])
        assert said(change) in table[category] and change["verdict"] in table[category]

"""Budgets: how a margin is decided, and what is made of it."""

import csv
import dataclasses
import json

import pytest

from scripts.lib.compare.budget import check_budget, decide_budget, faults_of
from scripts.lib.compare.changes import Change
from scripts.lib.errors import BudgetError
from tests.unit.compare.bench import QUESTIONS, Bench, half
from tests.unit.compare.test_replicates import gains
from tests.unit.report_data import said


def changed(low, high, *, unit="points", verdict="undecided"):
    interval = None if low is None else (low, high)
    middle = 0.0 if low is None else (low + high) / 2
    return Change(difference=middle, interval=interval, unit=unit, verdict=verdict)


def verdict_of(change, margin):
    found = decide_budget({"b": {"m": margin}}, "fail", {"b": {"tuned": {"m": change}}})
    (line,) = found["lines"]
    assert found["verdict"] == line["verdict"]
    return line["verdict"]


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (-0.9, 0.2, -1.0, "pass"),
        (-1.1, 0.2, -1.0, "undecided"),
        (-3.0, -1.1, -1.0, "fail"),
        # A loss that is decided and yet within the budget, and a gain that is asked for.
        (-0.9, -0.1, -1.0, "pass"),
        (0.5, 1.5, 2.0, "fail"),
        # On the margin is not beyond it.
        (-1.0, 0.0, -1.0, "undecided"),
        (-2.0, -1.0, -1.0, "undecided"),
    ],
)
def test_a_margin_is_held_against_the_whole_interval(low, high, margin, verdict):
    assert verdict_of(changed(low, high), margin) == verdict
    # Where less is better all is turned round.
    assert verdict_of(changed(-high, -low, unit="nats"), -margin) == verdict


def test_an_interval_that_is_not_there_decides_nothing_unless_nothing_changed():
    assert verdict_of(changed(None, None), -1.0) == "undecided"
    assert verdict_of(changed(None, None, verdict="unchanged"), -1.0) == "pass"
    assert verdict_of(changed(None, None, unit="nats", verdict="unchanged"), 0.1) == "pass"


def test_a_measure_that_is_not_there_fails_and_says_which_there_are():
    changes = {"b": {"tuned": {"average": changed(-0.1, 0.1), "STEM": changed(-0.1, 0.1)}}}
    found = decide_budget({"b": {"Stem": -1.0}}, "pass", changes)
    assert found["verdict"] == "fail"
    (fault,) = faults_of({"budget": found})
    assert "there are: average, STEM" in fault


def test_the_worst_line_is_the_verdict_and_what_is_undecided_may_pass():
    changes = {"b": {"one": {"m": changed(-0.5, 0.5)}, "two": {"m": changed(-2.0, 0.5)}}}
    strict = decide_budget({"b": {"m": -1.0}}, "fail", changes)
    assert strict["verdict"] == "undecided"
    (fault,) = faults_of({"budget": strict})
    assert fault.startswith("two on b, m: undecided (")
    lenient = decide_budget({"b": {"m": -1.0}}, "pass", changes)
    assert (lenient["verdict"], faults_of({"budget": lenient})) == ("undecided", [])
    assert faults_of({"budget": None}) == []
    changes["b"]["three"] = {"m": changed(-9.0, -5.0)}
    assert decide_budget({"b": {"m": -1.0}}, "pass", changes)["verdict"] == "fail"


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.add("base", right=half)
    bench.add("same", right=lambda n: half(n) or n == 1, base="base")
    bench.add("worse", right=lambda n: half(n) and n > QUESTIONS / 2, base="base")
    return bench


def budgeted(bench, budget, on_undecided="fail"):
    given = bench.spec()
    spec = dataclasses.replace(given, budget=budget, on_undecided=on_undecided)
    bench.spec = lambda: spec
    return bench.compare()


BUDGET = {"mmlu": {"average": -2.0, "STEM": -12.0, "astronomy": -30.0}}


def test_json_csv_and_markdown_say_the_same_of_a_budget(bench):
    document = budgeted(bench, BUDGET)
    budget = document["budget"]
    assert bench.facts["budget"] == budget["verdict"] == "fail"
    assert bench.markdown.startswith("# Budget: fail, by worse on mmlu, average")
    rows = {(row["candidate"], row["category"]): row for row in bench.rows}
    lines = [line for line in bench.markdown.splitlines() if line.startswith("| mmlu, ")]
    table = [line.strip("| ").split(" | ") for line in lines]
    cells = {(line[1], line[0]): line[2:] for line in table}
    assert len(budget["lines"]) == 6
    words = {"average": "Average"}
    for line in budget["lines"]:
        name, measure = line["candidate"], line["measure"]
        row = rows[name, words.get(measure, measure)]
        assert float(row["budget_margin"]) == line["margin"] == BUDGET["mmlu"][measure]
        assert row["budget_verdict"] == line["verdict"]
        ends = [float(row["difference_low"]), float(row["difference_high"])]
        assert ends == line["interval"] and float(row["difference"]) == line["difference"]
        margin, difference, verdict = cells[name, f"mmlu, {measure}"]
        assert difference == said(line) and verdict == line["verdict"]
        assert margin == f"at least \N{MINUS SIGN}{abs(line['margin']):.2f} points"
    assert {row["budget_verdict"] for row in rows.values()} >= {"", "pass", "fail"}
    verdicts = {(one["candidate"], one["measure"]): one["verdict"] for one in budget["lines"]}
    assert verdicts["same", "average"] == "pass" and verdicts["worse", "average"] == "fail"


def test_without_a_budget_the_first_line_is_the_answer(bench):
    document = bench.compare()
    assert document["budget"] is None and "budget" not in bench.facts
    assert bench.markdown.startswith(
        "# same shows no decided difference from base on mmlu; worse is worse than base on mmlu\n"
    )
    assert "Budget" not in bench.markdown
    for number in range(3):
        bench.add(f"more{number}", right=half, base="base")
    (bench.root / "out").rename(bench.root / "before")
    bench.compare()
    assert bench.markdown.startswith(
        "# Of 5 fine-tunes beside their bases: mmlu 1 worse, 1 undecided, 3 unchanged\n"
    )


def test_a_budget_that_is_kept_is_written_and_one_that_is_not_is_refused(bench, tmp_path):
    budgeted(bench, {"mmlu": {"average": -2.0}})
    (tmp_path / "checked").mkdir()
    with pytest.raises(BudgetError, match=r"worse on mmlu, average: fail \(.*at least .2.00 poi"):
        check_budget(bench.root / "out", tmp_path / "checked")
    assert not list((tmp_path / "checked").iterdir())
    (bench.root / "out").rename(bench.root / "before")
    document = budgeted(bench, {"mmlu": {"average": -60.0}})
    assert check_budget(bench.root / "out", tmp_path / "checked") == {"verdict": "pass"}
    assert json.loads((tmp_path / "checked/budget.json").read_text()) == document["budget"]
    assert bench.markdown.startswith("# Budget: pass, kept by same and worse\n")


def test_runs_that_differ_in_their_seed_are_held_against_it_together(tmp_path):
    bench = Bench(tmp_path)
    bench.add("base", right=half)
    for seed in (1, 2, 3):
        bench.add(f"low-seed{seed}", right=gains(seed), base="base", group="low")
    document = budgeted(bench, {"mmlu": {"average": -50.0}})
    (line,) = document["budget"]["lines"]
    effect = document["seeds"]["mmlu"]["effects"]["low"]["Average"]
    assert (line["candidate"], line["interval"]) == ("low", effect["interval"])
    with (tmp_path / "out/comparison.csv").open() as stream:
        marked = [row for row in csv.DictReader(stream) if row["budget_verdict"]]
    assert [(row["candidate"], row["category"]) for row in marked] == [("low", "Average")]

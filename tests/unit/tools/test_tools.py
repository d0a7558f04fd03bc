import json
import re

import pytest

from scripts.tools import bench, lint_workflow, write_readme_parts
from tests.workspace import ROOT


def test_the_readme_shows_the_tables_of_the_demos_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert write_readme_parts.updated(text) == text, "run `make docs`"
    page = (ROOT / "docs" / "demo.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert rows and set(rows) <= set(text.splitlines())


def test_the_page_of_the_rules_says_what_their_programs_say() -> None:
    page = (ROOT / "docs" / "rules.md").read_text()
    assert page == write_readme_parts.rules_page(), "run `make docs`"
    files = "".join(path.read_text() for path in ROOT.glob("rules/*.smk"))
    rules = re.findall(r"^rule (\w+):", files, re.M)
    assert {f"## {rule}" for rule in rules} <= set(page.splitlines())


def test_the_graph_of_the_rules_leaves_out_what_other_edges_say_and_no_rule() -> None:
    edges = re.findall(r"(\w+) -\.?->+ (\w+)", write_readme_parts.rule_graph())
    for source, to in edges:
        others = set(edges) - {(source, to)}
        assert not write_readme_parts._leads(source, to, others)
    run = {rule for edge in edges for rule in edge}
    assert run >= {"fetch_model", "train_adapter", "score_benchmark", "write_report"}


def test_a_part_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no marks"):
        write_readme_parts.replace_part("nothing here", "demo-tables", "x")


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.M)] == []


def test_a_benchmark_is_written_in_the_one_form(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    path = bench.publish("example", [bench.Figure("seconds", 1.5, "s")])
    content = json.loads(path.read_text())
    assert set(content) == {"machine", "date", "figures"}
    assert content["figures"] == [{"name": "seconds", "value": 1.5, "unit": "s"}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", content["date"])
    assert "seconds" in capsys.readouterr().out


def test_the_lint_gate_accepts_one_finding_and_reports_others() -> None:
    report = (
        "Lints for rule a (line 8, rules/a.smk):\n"
        f"    * {lint_workflow.NO_ENVIRONMENT}:\n      Some words.\n"
        "    * No log directive defined:\n      Other words.\n"
    )
    assert lint_workflow.findings(report) == [
        "rule a (line 8, rules/a.smk): No log directive defined"
    ]

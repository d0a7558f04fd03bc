"""A budget from the command line: kept, broken, and undecided."""

import csv
import json
from pathlib import Path

import pytest

from tests.comparison_file import read_comparison
from tests.workflow.test_commands import tunesmith
from tests.workspace import jobs, read_config, snakemake, write_config

# Eight questions that both answer alike: the interval goes from -32.4 to +32.4 points.
KEPT, BROKEN, TOO_NEAR = -60.0, 40.0, -1.0
ANEW = ["check_budget all", "compare_runs all", "write_report all"]


def with_margin(workspace: Path, margin: float, **more: str):
    config = read_config(workspace)
    config["report"] = {"budget": {"mmlu": {"average": margin}}, **more}
    write_config(workspace, config)
    result = snakemake(workspace, "-c1")
    return result.returncode, result.stdout


def verdicts(workspace: Path) -> set[str]:
    """Return what the first line, the CSV and the page say, held against the JSON."""
    report = workspace / "results/report"
    budget = read_comparison(report)["budget"]
    (first, *_) = (report / "comparison.md").read_text().splitlines()
    with (report / "comparison.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["budget_verdict"]]
    assert [row["candidate"] for row in rows] == [one["candidate"] for one in budget["lines"]]
    assert '<section id="budget"' in (report / "index.html").read_text()
    said = {row["budget_verdict"] for row in rows} | {one["verdict"] for one in budget["lines"]}
    return said | {budget["verdict"], first.removeprefix("# Budget: ").split(",")[0]}


@pytest.mark.e2e
def test_a_budget_passes_fails_or_is_undecided_and_the_report_stands_in_each_case(workspace):
    code, said = with_margin(workspace, KEPT)
    assert code == 0, said
    assert jobs(said) == ANEW, "nothing is trained or scored for a budget"
    assert verdicts(workspace) == {"pass"}
    assert tunesmith(workspace, "check").returncode == 0
    (checked,) = (workspace / "results/budgets").glob("*/budget.json")
    assert json.loads(checked.read_text())["verdict"] == "pass"

    code, said = with_margin(workspace, BROKEN)
    assert code != 0 and jobs(said) == ANEW
    assert "low on mmlu, average: fail (0.00, " in said and "at least +40.00 points" in said
    assert said.rindex("The report: results/report/index.html") > said.rindex("check_budget")
    assert verdicts(workspace) == {"fail"}
    held = tunesmith(workspace, "check")
    assert held.returncode == 2 and "low on mmlu, average: 0.00" in held.stdout, held
    again = snakemake(workspace, "-c1")
    assert again.returncode != 0 and jobs(again.stdout) == ["check_budget all"]

    code, said = with_margin(workspace, TOO_NEAR)
    assert code != 0 and "low on mmlu, average: undecided (" in said
    assert "The report: results/report/index.html" in said
    assert verdicts(workspace) == {"undecided"}
    assert tunesmith(workspace, "check").returncode == 3
    code, said = with_margin(workspace, TOO_NEAR, on_undecided="pass")
    assert code == 0, said
    assert verdicts(workspace) == {"undecided"}
    assert jobs(snakemake(workspace, "-c1").stdout) == []
    assert tunesmith(workspace, "check").returncode == 0


@pytest.mark.e2e
@pytest.mark.slow
def test_a_report_that_was_not_made_is_not_named(workspace):
    config = read_config(workspace)
    config["report"] = {"budget": {"mmlu": {"average": BROKEN}}}
    write_config(workspace, config)
    result = snakemake(workspace, "-c1", "--until", "compare_runs")
    assert result.returncode == 0 and jobs(result.stdout) == ["compare_runs all"]
    assert "The report:" not in result.stdout
    assert (workspace / "results/report/comparison.md").exists(), "what there is, is linked"


@pytest.mark.e2e
@pytest.mark.slow
def test_a_dry_run_and_a_picture_of_the_whole_show_the_check(workspace):
    config = read_config(workspace)
    config["report"] = {"budget": {"mmlu": {"average": KEPT}}}
    write_config(workspace, config)
    assert jobs(snakemake(workspace, "-n").stdout) == ANEW
    whole = snakemake(workspace, "-n", "--config", "plan=full")
    assert whole.returncode == 0 and "check_budget" in whole.stdout

"""Tunesmith as a part of another workflow: its rules are taken in by Snakemake's `module`."""

import shutil
from pathlib import Path

import pytest

from tests.workspace import ROOT, jobs, read_config, snakemake, write_config

SNAKEFILE = f"""
configfile: "config/config.yaml"


module tunesmith:
    snakefile:
        "{ROOT / "Snakefile"}"
    config:
        config


use rule * from tunesmith


rule count_words:
    default_target: True
    input:
        rules.all.input,
    output:
        "words.txt",
    localrule: True
    shell:
        "wc -w {{input}} > {{output}}"
"""


def test_another_workflow_makes_what_is_missing_and_goes_on_from_the_report(
    workspace: Path,
) -> None:
    (workspace / "Snakefile").write_text(SNAKEFILE)
    for stage in ("comparisons", "reports"):
        shutil.rmtree(workspace / "results" / stage)
    done = snakemake(workspace, "-s", "Snakefile", "-c2", root=workspace)
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == ["compare_runs all", "write_report all"]
    assert (workspace / "words.txt").read_text().split()[1].startswith("results/reports/")
    # What is there goes by its full path, which is another input for whoever reads the report: that
    # runs once more, and then no more.
    for _ in range(2):
        again = snakemake(workspace, "-s", "Snakefile", "-c2", root=workspace)
        assert jobs(again.stdout) == []
    assert "Nothing to be done" in again.stdout


@pytest.mark.slow
def test_another_workflow_plans_the_same_jobs_after_a_change(workspace: Path) -> None:
    (workspace / "Snakefile").write_text(SNAKEFILE)
    config = read_config(workspace)
    config["runs"]["high"]["training"]["learning_rate"] = 5e-3
    write_config(workspace, config)
    own = snakemake(workspace, "-n")
    taken_in = snakemake(workspace, "-s", "Snakefile", "-n", root=workspace)
    assert taken_in.returncode == 0, taken_in.stdout
    assert jobs(taken_in.stdout) == jobs(own.stdout) != []

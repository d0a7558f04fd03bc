"""Unmerged runs, combinations and publishing, as Snakemake plans them."""

from pathlib import Path

import pytest
import yaml

from tests.workspace import jobs, make_workspace, snakemake


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with an unmerged run, a combination of two runs, and one to publish."""
    folder = make_workspace(tmp_path_factory.mktemp("candidates") / "ws")
    file = folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    runs = config["runs"]
    runs["quick"] = {**runs["low"], "merge": False}
    runs["low"]["publish"] = {"repo_id": "me/low"}
    config["candidates"] = {"blend": {"combine": {"low": 0.7, "high": 0.3}}}
    file.write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.e2e
def test_an_unmerged_run_adds_scores_only_and_a_combination_all_but_training(declared: Path):
    listed = snakemake(declared, "-n").stdout
    named = [job.split(" ")[0] for job in jobs(listed)]
    assert named.count("train_adapter") == 2
    assert named.count("combine_adapters") == 1
    assert named.count("merge_adapter") == named.count("prove_merge") == 3
    assert named.count("score_benchmark") == 5 * 2, "the base, two runs, quick and the blend"
    assert "rule publish:" not in listed


@pytest.mark.e2e
def test_publishing_is_planned_only_when_it_is_asked_for(declared: Path):
    result = snakemake(declared, "-n", "publish")
    assert result.returncode == 0, result.stdout
    assert "rule publish:" in result.stdout

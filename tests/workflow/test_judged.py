"""Judged pairs, as Snakemake plans them."""

import json
import re
from pathlib import Path

import pytest

from tests.workspace import (
    ROOT,
    jobs,
    make_workspace,
    read_config,
    snakemake,
    write_config,
    write_rows,
)


def listed_for_slurm(folder: Path) -> str:
    """Return what a dry run under the Slurm profile of a site lists."""
    profile = (ROOT / "profiles/slurm/config.yaml").read_text()
    # Without it Snakemake lists every job.
    assert "\nlogger: rich\n" in profile
    (folder / "listing").mkdir()
    (folder / "listing/config.yaml").write_text(profile.replace("\nlogger: rich\n", "\n"))
    (folder / "site.yaml").write_text("partition: small\ngpu_partition: cards\n")
    site = {"TUNESMITH_SITE": str(folder / "site.yaml")}
    listed = snakemake(folder, "-n", "--workflow-profile", str(folder / "listing"), env=site)
    assert listed.returncode == 0, listed.stdout
    return listed.stdout


def resources(listing: str) -> dict[str, set[str]]:
    """Return rule -> what its jobs ask for."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=(?:local)?rule )", listing):
        if told := re.search(r"(?s)^(?:local)?rule (\w+):.*?\n    resources: ([^\n]*)", block):
            found.setdefault(told[1], set()).add(told[2])
    return found


@pytest.mark.e2e
def test_a_local_judge_is_a_job_of_the_cluster_and_a_service_is_asked_from_here(tmp_path):
    folder = make_workspace(tmp_path / "ws")
    write_rows(folder / "data" / "prompts.jsonl", [{"prompt": "Say red."}])
    config = read_config(folder)
    pairs = {"kind": "judged_pairs", "path": "data/prompts.jsonl"}
    service = {"model": "big", "endpoint": "https://judge.example/v1", "api_key_env": "KEY"}
    config["benchmarks"] = {
        "pairs": {**pairs, "judge": {"model": "tiny"}},
        "paid": {**pairs, "judge": service},
    }
    write_config(folder, config)
    listing = listed_for_slurm(folder)
    named = [job.split(" ")[0] for job in jobs(listing)]
    assert named.count("score_benchmark") == 3, "base and two runs, asked once for both judges"
    assert named.count("judge_pairs") == named.count("ask_judge") == 2
    # A dry run does not tell which rules stay where Snakemake runs.
    _, pairs_rule, judge_rule = (ROOT / "rules" / "judge.smk").read_text().split("\nrule ")
    assert "localrule: True" in judge_rule and "localrule" not in pairs_rule
    asked = resources(listing)
    gpu_rules = {"train_adapter", "score_benchmark", "judge_pairs"}
    for wanted in ("gpu=1", "slurm_partition=cards"):
        assert {r for r, found in asked.items() if any(wanted in one for one in found)} == gpu_rules
    assert asked["judge_pairs"] == asked["score_benchmark"]
    (plan,) = (folder / "results" / "plans").glob("*.json")
    entries = json.loads(plan.read_text())["artifacts"].values()
    refused = snakemake(folder, "--cores", "1", env={"KEY": ""})
    assert refused.returncode == 1
    assert "KEY is not set in the environment: set it to the key of https://judge.example/v1" in (
        refused.stdout
    )
    assert not (folder / "results" / "models").exists(), "nothing was done before"
    told = [e["execution"] for e in entries if e["stage"] == "remote_judgements"]
    assert told == [{"api_key_env": "KEY"}] * 2

"""Judged pairs, as Snakemake plans them."""

import json

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
    listed = snakemake(folder, "-n")
    assert listed.returncode == 0, listed.stdout
    named = [job.split(" ")[0] for job in jobs(listed.stdout)]
    assert named.count("score_benchmark") == 3, "base and two runs, asked once for both judges"
    assert named.count("judge_pairs") == named.count("ask_judge") == 2
    # A dry run does not tell which rules stay where Snakemake runs.
    _, pairs_rule, judge_rule = (ROOT / "rules" / "judge.smk").read_text().split("\nrule ")
    assert "localrule: True" in judge_rule and "gpu" not in judge_rule
    assert "localrule" not in pairs_rule and "gpu=1" in pairs_rule
    (plan,) = (folder / "results" / "plans").glob("*.json")
    entries = json.loads(plan.read_text())["artifacts"].values()
    told = [e["execution"] for e in entries if e["stage"] == "remote_judgements"]
    assert told == [{"api_key_env": "KEY"}] * 2

"""`snakemake --profile slurm`, typed as a user types it, on a real Slurm."""

import re
import subprocess
import sys
from pathlib import Path

from scripts.lib.files import read_json
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import SITE, STEPS, add_profile, leave_one_run
from tests.slurm.watching import Workflow, check, is_whole, planned
from tests.workspace import ROOT, copy_workspace, make_workspace, read_config, write_config

# A local judge asks for a GPU too: tests/workflow/test_judged.py.
GPU_RULES = ("score_benchmark", "train_adapter")


def test_a_fresh_clone_reaches_its_report_though_its_training_is_cancelled(
    cluster: Cluster, tmp_path: Path
) -> None:
    clone = tmp_path / "tunesmith"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    make_workspace(clone)
    add_profile(clone)
    (clone / "slurm/site.yaml").write_text(f"{SITE}transfer_partition: urgent\n")
    leave_one_run(clone, STEPS)
    flow = Workflow(cluster, clone).start()
    before = flow.snapshot()
    cancelled = flow.training(seconds=600)
    cluster.run("scancel", cancelled)
    assert flow.finish(900) == 0, flow.output
    assert flow.resumed()
    check(flow.row("scancel of the training job", before, "retried, resumed, done"))
    assert "The report: results/report/index.html" in flow.output
    assert (clone / "results" / "report" / "index.html").exists()
    assert list((clone / "logs" / "efficiency").iterdir())
    left = {log.stem for log in (clone / "logs" / "slurm").rglob("*.log")}
    assert left <= {cancelled}, "logs of good jobs stayed"
    fields = ("JobID", "WorkDir", "Comment", "AllocTRES", "State", "Start", "End", "Partition")
    jobs = [job for job in cluster.sacct(*fields) if job["WorkDir"] == str(clone)]
    rules = {re.match("rule_([a-z_]+?)(_wildcards|$)", job["Comment"])[1] for job in jobs}
    assert set(GPU_RULES) < rules
    transferred = {job["Partition"] == "urgent" for job in jobs if "rule_fetch_" in job["Comment"]}
    assert transferred == {True}, "fetching has a partition of its own"
    for job in jobs:
        asks = any(rule in job["Comment"] for rule in GPU_RULES)
        assert ("gres/gpu=1" in job["AllocTRES"]) == asks, job
    ended = {job["JobID"]: job["State"].split()[0] for job in jobs}
    assert ended.pop(cancelled) == "CANCELLED"
    assert set(ended.values()) == {"COMPLETED"}
    spans = [(j["Start"], j["End"]) for j in jobs if "gres/gpu=1" in j["AllocTRES"]]
    at_once = [sum(a <= start < b for a, b in spans) for start, _ in spans]
    assert max(at_once) == 2, "two GPUs, two jobs at a time"


def test_two_tasks_train_one_adapter(cluster: Cluster, prepared: Path, tmp_path: Path) -> None:
    """Two processes on one node: torchrun starts them within the job."""
    folder = copy_workspace(prepared, tmp_path / "ws")
    config = read_config(folder)
    config["runs"]["low"]["training"] |= {"max_steps": 8, "eval_every_steps": 8}
    write_config(folder, config)
    options = ["--set-threads", "train_adapter=1", "--set-resources"]
    options += [
        f"train_adapter:{asked}"
        for asked in ("mpi=srun", "tasks=2", "nodes=1", "gpu=0", "mem_mb=8000")
    ]
    flow = Workflow(cluster, folder, (), "--until", "train_adapter", *options)
    assert flow.start().finish() == 0, flow.output
    (id,) = [id for id in planned(folder) if id.startswith("adapters/")]
    assert is_whole(folder / "results" / f"{id}.json")
    made = read_json(folder / "results" / f"{id}.json")
    assert made["execution"]["processes"] == 2


def doctor(cluster: Cluster, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the doctor in a workspace."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.tools.doctor"],
        cwd=folder,
        env={**cluster.env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_doctor_finds_the_site_fit(cluster: Cluster, tmp_path: Path) -> None:
    add_profile(tmp_path)
    result = doctor(cluster, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ran on" in result.stdout and "error" not in result.stdout


def test_the_doctor_names_what_is_wrong(cluster: Cluster, tmp_path: Path) -> None:
    add_profile(tmp_path)
    (tmp_path / "slurm" / "site.yaml").write_text("partition: nowhere\ncache: /not/there\n")
    result = doctor(cluster, tmp_path)
    assert result.returncode == 1
    assert "nowhere is no partition that is up" in result.stdout
    assert "/not/there is not there" in result.stdout

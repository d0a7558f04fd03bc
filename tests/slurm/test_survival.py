"""Faults on a real Slurm: the workflow ends right, nothing is partial, lost or made twice."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm import settings
from tests.slurm.cluster import Cluster
from tests.slurm.watching import Row, Workflow, check, planned

Report = Callable[[Row], Row]


@pytest.fixture
def adapter(cluster: Cluster, workspace: Path) -> Workflow:
    """Return a workflow that has one adapter to train."""
    (id,) = [id for id in planned(workspace) if id.startswith("adapters/")]
    return Workflow(cluster, workspace, [f"results/{id}.json"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 64 MiB."""
    yield from mounted(tmp_path / "disk", "size=64m")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Return an empty file system that nobody can write."""
    yield from mounted(tmp_path / "read-only", "ro")


def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory for one test."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_snakemake_killed_and_started_again(adapter: Workflow, report: Report) -> None:
    # Somebody else's workflow in the same folder, as far as squeue can tell.
    other = ("--job-name", "tunesmith_other", "-D", str(adapter.folder), "-o", "/dev/null")
    bystander = adapter.cluster.run(
        "sbatch", "--parsable", "--mem=100", *other, "--wrap", "sleep 900"
    )
    adapter.start()
    before = adapter.snapshot()
    orphan = adapter.training()
    adapter.kill(signal.SIGKILL)
    adapter.finish()
    assert adapter.start().finish() == 0, adapter.output
    assert f"cancelling 1 Slurm job(s) of a workflow that was killed: {orphan}" in adapter.output
    assert adapter.resumed()
    assert adapter.cluster.run("squeue", "-h", "-j", bystander, "-o", "%T") == "RUNNING"
    adapter.cluster.run("scancel", bystander)
    check(report(adapter.row("kill -9 of Snakemake", before, "started again, resumed, done")))


@pytest.mark.slow
def test_cancelled_training_is_retried_from_its_checkpoint(
    adapter: Workflow, report: Report
) -> None:
    adapter.start()
    before = adapter.snapshot()
    adapter.cluster.run("scancel", adapter.training())
    assert adapter.finish() == 0, adapter.output
    assert adapter.resumed()
    check(report(adapter.row("scancel of the training job", before, "retried, resumed, done")))


@pytest.mark.slow
@pytest.mark.parametrize("round", range(2))
def test_snakemake_killed_at_any_stage(
    cluster: Cluster, workspace: Path, report: Report, round: int
) -> None:
    """The moments differ: before the first submission, while a job starts, while one trains."""
    (id,) = [id for id in planned(workspace) if id.startswith("adapters/")]
    flow = Workflow(cluster, workspace, [f"results/{id}.json"]).start()
    before = flow.snapshot()
    time.sleep((4, 14)[round])
    flow.kill(signal.SIGKILL)
    flow.finish()
    assert flow.start().finish() == 0, flow.output
    check(report(flow.row(f"kill -9 of Snakemake, {(4, 14)[round]} s in", before, "done")))


@pytest.mark.slow
def test_interrupted_by_hand(adapter: Workflow, report: Report) -> None:
    adapter.start()
    before = adapter.snapshot()
    adapter.training()
    adapter.kill(signal.SIGINT)
    assert adapter.finish() == 1
    adapter.until("no job", lambda: not adapter.cluster.run("squeue", "-h"))
    assert adapter.start().finish() == 0, adapter.output
    assert adapter.resumed()
    check(report(adapter.row("Ctrl-C", before, "jobs cancelled; started again, resumed, done")))


@pytest.mark.slow
def test_walltime_saves_a_checkpoint_and_the_retry_gets_more(
    cluster: Cluster, prepared_long: Path, report: Report
) -> None:
    (id,) = [id for id in planned(prepared_long) if id.startswith("adapters/")]
    flow = Workflow(
        cluster,
        prepared_long,
        [f"results/{id}.json"],
        "--set-resources",
        "train_adapter:runtime=2 * 30 ** (attempt - 1)",
        "train_adapter:slurm_extra='--signal=TERM@40'",
    ).start()
    before = flow.snapshot()
    first = flow.training()
    assert flow.finish(1200) == 0, flow.output
    assert flow.resumed()
    limits = {job["JobID"]: job["TimelimitRaw"] for job in cluster.sacct("JobID", "TimelimitRaw")}
    assert limits[first] == "2" and "60" in limits.values()
    check(report(flow.row("walltime reached", before, "checkpoint saved, retried with more time")))


@pytest.mark.slow
def test_out_of_memory_is_retried_with_more(adapter: Workflow, report: Report) -> None:
    # Too little for two Snakemakes and PyTorch, then enough.
    flow = Workflow(
        adapter.cluster,
        adapter.folder,
        adapter.targets,
        "--set-resources",
        "train_adapter:mem_mb=500 * 8 ** (attempt - 1)",
    ).start()
    before = flow.snapshot()
    assert flow.finish() == 0, flow.output
    jobs = flow.cluster.sacct("WorkDir", "State", "ReqMem")
    mine = [(job["State"], job["ReqMem"]) for job in jobs if job["WorkDir"] == str(flow.folder)]
    assert [memory for _, memory in mine] == ["500M", "4000M"]
    assert mine[0][0] != "COMPLETED" and mine[1][0] == "COMPLETED"
    check(report(flow.row("out of memory", before, "killed, retried with eight times as much")))


@pytest.mark.slow
def test_requeued_by_an_administrator(adapter: Workflow, report: Report) -> None:
    adapter.start()
    before = adapter.snapshot()
    id = adapter.training()
    adapter.cluster.run("scontrol", "requeue", id)
    start_at_once(adapter, id)
    assert adapter.finish() == 0, adapter.output
    check(report(adapter.row("scontrol requeue", before, "same job again, done")))


@pytest.mark.slow
def test_preempted_by_a_more_important_job(adapter: Workflow, report: Report) -> None:
    adapter.start()
    before = adapter.snapshot()
    id = adapter.training()
    urgent = adapter.cluster.run(
        "sbatch", "--parsable", "-p", "urgent", "--exclusive", "--mem=100", "-o", "/dev/null",
        "--wrap", "sleep 5",
    )  # fmt: skip
    adapter.until(
        "preemption", lambda: adapter.cluster.run("squeue", "-h", "-j", urgent, "-t", "R")
    )
    start_at_once(adapter, id)
    assert adapter.finish() == 0, adapter.output
    check(report(adapter.row("preemption", before, "requeued by Slurm, done")))


@pytest.mark.slow
def test_node_drained_and_back(adapter: Workflow, report: Report) -> None:
    cluster, node = adapter.cluster, settings.host()
    cluster.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    try:
        adapter.start()
        before = adapter.snapshot()
        adapter.job("train_adapter", "PENDING")
    finally:
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert adapter.finish() == 0, adapter.output
    check(report(adapter.row("node drained and back", before, "waited, done")))


@pytest.mark.slow
def test_controller_restarted(adapter: Workflow, report: Report) -> None:
    adapter.start()
    before = adapter.snapshot()
    adapter.training()
    adapter.cluster.stop_daemon("slurmctld")
    time.sleep(20)
    adapter.cluster.start_daemon("slurmctld")
    assert adapter.finish() == 0, adapter.output
    check(report(adapter.row("slurmctld away for 20 s", before, "waited, done")))


@pytest.mark.slow
def test_accounting_away_all_the_time(adapter: Workflow, report: Report) -> None:
    adapter.cluster.stop_daemon("slurmdbd")
    try:
        adapter.start()
        before = adapter.snapshot()
        assert adapter.finish() == 0, adapter.output
    finally:
        adapter.cluster.start_daemon("slurmdbd")
        adapter.until("slurmdbd", lambda: adapter.cluster.ok("sacctmgr", "-n", "list", "cluster"))
    check(report(adapter.row("slurmdbd away", before, "done")))


@pytest.mark.slow
def test_a_full_disk_is_said_and_survived(
    cluster: Cluster, prepared: Path, small_disk: Path, report: Report
) -> None:
    folder = small_disk / "ws"
    shutil.copytree(prepared, folder, symlinks=True)
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(b"x" * max(0, free - 200_000))
    (id,) = [id for id in planned(folder) if id.startswith("adapters/")]
    flow = Workflow(cluster, folder, [f"results/{id}.json"], "--retries", "0").start()
    before = flow.snapshot()
    assert flow.finish() != 0
    assert "No space left on device" in flow.output
    check(flow.row("full disk", before, ""))
    filler.unlink()
    assert flow.start().finish() == 0, flow.output
    check(report(flow.row("full disk", before, "said; with room again, done")))


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_said(
    adapter: Workflow, read_only: Path, report: Report
) -> None:
    adapter.start(TUNESMITH_CACHE=str(read_only))
    before = adapter.snapshot()
    assert adapter.finish() == 0, adapter.output
    (log,) = (adapter.folder / "logs" / "train_adapter").glob("*.log")
    assert "was not published" in log.read_text()
    check(report(adapter.row("read-only cache", before, "said in the job's log, done")))


def start_at_once(flow: Workflow, id: str) -> None:
    """Let a requeued job start now: Slurm holds it back for two minutes."""
    flow.job("train_adapter", "PENDING")
    flow.cluster.run("scontrol", "update", f"JobId={id}", "StartTime=now")

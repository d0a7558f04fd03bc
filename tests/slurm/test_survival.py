"""Faults on a real Slurm: the workflow ends right, nothing is partial, lost or made twice."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.watching import Row, Workflow, planned

Report = Callable[[Row], Row]


@pytest.fixture
def adapter(cluster: Cluster, workspace: Path) -> Workflow:
    """Return a workflow that has one adapter to train."""
    (id,) = [id for id in planned(workspace) if id.startswith("adapters/")]
    return Workflow(cluster, workspace, [f"results/{id}.json"])


def check(row: Row) -> None:
    """Fail where something was lost, doubled or left partial."""
    assert (row.lost, row.doubled, row.partial) == (0, 0, 0), row


def resumed(flow: Workflow) -> bool:
    """Tell whether the training went on from a checkpoint."""
    (log,) = (flow.folder / "logs" / "train_adapter").glob("*.log")
    return "going on from" in log.read_text()


def test_snakemake_killed_and_started_again(adapter: Workflow, report: Report) -> None:
    adapter.start()
    before = adapter.snapshot()
    orphan = adapter.training()
    adapter.kill(signal.SIGKILL)
    adapter.finish()
    assert adapter.start().finish() == 0, adapter.output
    assert f"cancelling 1 Slurm job(s) of a workflow that was killed: {orphan}" in adapter.output
    assert resumed(adapter)
    check(report(adapter.row("kill -9 of Snakemake", before, "started again, resumed, done")))


def test_cancelled_training_is_retried_from_its_checkpoint(
    adapter: Workflow, report: Report
) -> None:
    adapter.start()
    before = adapter.snapshot()
    adapter.cluster.run("scancel", adapter.training())
    assert adapter.finish() == 0, adapter.output
    assert resumed(adapter)
    check(report(adapter.row("scancel of the training job", before, "retried, resumed, done")))

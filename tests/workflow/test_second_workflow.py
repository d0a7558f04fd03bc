"""A second workflow in a folder is told of the first, and when its lock may be released."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workspace import (
    ROOT,
    SUBJECTS,
    leave_one_run_and_mmlu,
    make_workspace,
    read_config,
    snakemake,
    write_config,
)

SNAKEMAKES_OWN = "can be removed with the --unlock argument"


def until(found: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def stopped_workflow(folder: Path) -> Iterator[subprocess.Popen]:
    """Have a workflow at work in *folder*, and return its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-c1"],
        cwd=folder,
        env={**os.environ, "TUNESMITH_CACHE": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: bool(notes(folder)) or process.poll() is not None)
    # Stopped, it is as alive as before, and does not end under the test.
    os.killpg(process.pid, signal.SIGSTOP)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen]]:
    """Return a workspace in which a workflow is at work, and its process."""
    folder = make_workspace(tmp_path / "ws")
    with stopped_workflow(folder) as process:
        yield folder, process


def notes(folder: Path) -> list[Path]:
    """Return the notes of the workflows at work."""
    return list((folder / "results" / ".workflows").glob("*.json"))


def test_who_holds_a_lock_is_told_and_unlocking_only_where_nothing_runs(
    busy: tuple[Path, subprocess.Popen],
) -> None:
    folder, first = busy
    second = snakemake(folder, "-c1")
    assert second.returncode == 1
    assert "Another workflow is running in this folder" in second.stdout
    assert f"process {first.pid} on {os.uname().nodename}, since 20" in second.stdout
    assert "Do not use --unlock" in second.stdout
    assert SNAKEMAKES_OWN not in second.stdout
    assert snakemake(folder, "-n").returncode == 0
    assert (folder / ".snakemake" / "locks").is_dir()

    # On a shared disk, the same note as another machine sees it.
    (path,) = notes(folder)
    note = path.read_text()
    path.write_text(json.dumps({**json.loads(note), "host": "elsewhere"}))
    third = snakemake(folder, "-c1")
    assert third.returncode == 1
    assert f"look on elsewhere (ps -p {first.pid})" in third.stdout
    assert SNAKEMAKES_OWN not in third.stdout

    path.write_text(note)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    after = snakemake(folder, "-c1", "--until", "fetch_dataset")
    assert after.returncode == 0, after.stdout
    assert "its lock was released" in after.stdout
    assert notes(folder) == []


def test_who_makes_some_of_the_same_scores_is_told_though_no_output_is_the_same(
    workspace: Path,
) -> None:
    """Scores are made in batches, of which Snakemake's lock knows the tokens only."""
    leave_one_run_and_mmlu(workspace)
    for stage in ("scores", "categories", "comparisons", "reports", "batches"):
        shutil.rmtree(workspace / "results" / stage)
    with stopped_workflow(workspace) as first:
        config = read_config(workspace)
        config["benchmarks"] = {"mmlu": {**config["benchmarks"]["mmlu"], "subjects": SUBJECTS[:1]}}
        write_config(workspace, config)
        second = snakemake(workspace, "-c1")
        assert second.returncode == 1
        said = " ".join(second.stdout.split())
        assert f"makes some of the same scores: process {first.pid} on" in said
        assert len(notes(workspace)) == 1
    assert snakemake(workspace, "-c2").returncode == 0

"""A second workflow in a folder is told of the first, and when its lock may be released."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workspace import ROOT, make_workspace, snakemake

SNAKEMAKES_OWN = "can be removed with the --unlock argument"


def until(found: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen]]:
    """Return a workspace in which a workflow is at work, and its process."""
    folder = make_workspace(tmp_path / "ws")
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
    yield folder, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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

"""One tiny workspace, run once; each test gets a copy of it."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import MakeOnce
from tests.programs import make_all
from tests.workspace import ROOT, copy_workspace, make_workspace, snakemake


@pytest.fixture(scope="session")
def run_once(make_once: MakeOnce) -> Path:
    """Return a folder with a workspace whose workflow ran to its report, and its cache.

    The jobs ran in one process; Snakemake, which finds nothing left to do, links what is there.
    """

    def run(folder: Path) -> None:
        (folder / "cache").mkdir()
        workspace = make_workspace(folder / "ws")
        make_all(workspace, cache=folder / "cache")
        _run(workspace, folder / "cache")

    return make_once("workflow", run)


@pytest.fixture(scope="session")
def run_by_snakemake(make_once: MakeOnce) -> Path:
    """Return a workspace whose jobs Snakemake ran, each as a process, and marked as its own."""
    folder = make_once("by-snakemake", lambda folder: _run(make_workspace(folder / "ws")))
    return folder / "ws"


def _run(workspace: Path, cache: Path | None = None) -> None:
    """Run the workflow of a workspace to its report."""
    env = {"TUNESMITH_CACHE": str(cache or "")}
    result = snakemake(workspace, "-c2", "--show-failed-logs", env=env)
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope="session")
def shared_cache(run_once: Path) -> Path:
    """Return the cache that the finished workspace published to."""
    return run_once / "cache"


@pytest.fixture(scope="session")
def finished(run_once: Path) -> Path:
    """Return a workspace whose workflow ran to its report."""
    return run_once / "ws"


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished workspace."""
    return copy_workspace(finished, tmp_path / "ws")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project's code that a test may edit."""
    target = tmp_path / "project"
    target.mkdir()
    for name in ("Snakefile", "requirements.lock"):
        shutil.copy(ROOT / name, target / name)
    for name in ("rules", "scripts", "config", "resources", "profiles"):
        shutil.copytree(
            ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    return target

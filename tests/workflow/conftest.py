"""One tiny workspace, run once; each test gets a copy of it."""

import shutil
from pathlib import Path

import pytest

from tests.workspace import ROOT, copy_workspace, make_workspace, snakemake


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the cache that the finished workspace published to."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """Return a workspace whose workflow ran to its report."""
    folder = make_workspace(tmp_path_factory.mktemp("finished") / "ws")
    result = snakemake(
        folder, "-c2", "--show-failed-logs", env={"TUNESMITH_CACHE": str(shared_cache)}
    )
    assert result.returncode == 0, result.stdout
    return folder


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

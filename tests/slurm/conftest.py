"""One Slurm for all tests of this folder, and a workspace whose shards are made."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeOnce
from tests.programs import make_all
from tests.slurm.cluster import Cluster, missing_programs
from tests.slurm.watching import HEADER, Row, as_property
from tests.workspace import (
    ROOT,
    copy_workspace,
    make_workspace,
    read_config,
    write_config,
)

SITE = "partition: cpu\ngpu_partition: gpu\ndevice: cpu\npoll_seconds: 3\n"
"""The test cluster's site file. Its GPUs are pretended, so models compute on the CPU."""

STEPS = 300
"""Steps of a training that is not over before a test can do something to it."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a running one-node Slurm."""
    if missing := missing_programs():
        pytest.skip(f"no Slurm here: {', '.join(missing)} not installed (see CONTRIBUTING.md)")
    # Not below pytest's own folder, which is private: munged wants its socket where all may look.
    folder = Path(tempfile.mkdtemp(prefix="tunesmith-slurm-"))
    cluster = Cluster(folder)
    try:
        # One at a time: two databases that are made at once on a small machine can fail.
        with Path(tempfile.gettempdir(), "tunesmith-slurm.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def prepared(make_once: MakeOnce) -> Path:
    """Return a workspace in which everything before a training of some seconds is there."""
    return make_once("prepared", lambda folder: _prepare(folder, STEPS))


@pytest.fixture(scope="session")
def prepared_long(make_once: MakeOnce) -> Path:
    """Return one whose training takes minutes."""
    return make_once("prepared-long", lambda folder: _prepare(folder, 20 * STEPS))


def _prepare(folder: Path, steps: int) -> None:
    """Make a workspace with one run, and its shards."""
    make_workspace(folder)
    add_profile(folder)
    leave_one_run(folder, steps)
    make_all(folder, ("models", "raw", "chat", "shards"))


def leave_one_run(folder: Path, steps: int) -> None:
    """Take all runs but one out of a workspace's config, and let this one train so long."""
    config = read_config(folder)
    del config["runs"]["high"]
    config["runs"]["low"]["training"] |= {"max_steps": steps, "eval_every_steps": steps}
    write_config(folder, config)


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path) -> Path:
    """Return a copy of the prepared workspace."""
    return copy_workspace(prepared, tmp_path / "ws")


def add_profile(folder: Path) -> None:
    """Give a workspace the profile and the test cluster's site file."""
    if not (folder / "slurm").exists():
        shutil.copytree(ROOT / "profiles" / "slurm", folder / "slurm")
    (folder / "slurm" / "site.yaml").write_text(SITE)


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[Row], Row]:
    """Return a function that adds a row to the survival table and returns it."""

    def add(row: Row) -> Row:
        record_property("survival", as_property(row))
        return row

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the survival table."""
    rows = [
        Row(**value)
        for reports in terminalreporter.stats.values()
        for test in reports
        for name, value in getattr(test, "user_properties", [])
        if name == "survival" and test.when == "call"
    ]
    if rows:
        terminalreporter.section("survival on a real Slurm")
        for line in [HEADER, *(row.line() for row in rows)]:
            terminalreporter.write_line(line)

"""A folder that every user can enter, and the people who share a cache in it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cache.people import Person, make_cache, make_project, people, workflow


@pytest.fixture(scope="session")
def several() -> Iterator[bool]:
    """Tell whether this process can be several users who can run a workflow.

    Whatever Python loads on first use is loaded before: it may lie where only root can read.
    """
    ann, *_ = people(several=os.geteuid() == 0)
    with _open_folder() as base:
        root, cache = make_project(base), make_cache(base)
        (base / "warm").mkdir()
        workflow(base / "warm", root, cache, "warm")
        yield ann.uid is not None and ann.do(workflow, ann.home(base), root, cache, "ann") == 0


@contextmanager
def _open_folder() -> Iterator[Path]:
    """Lend a folder that everybody can enter: those of pytest are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="tunesmith-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def team(several: bool) -> tuple[Person, Person, Person]:
    """Two who share a cache, and an outsider; all one user where it cannot be otherwise."""
    return people(several=several)


@pytest.fixture
def users(several: bool) -> tuple[Person, Person, Person]:
    """Two who share a cache, and an outsider; truly three users."""
    if not several:
        pytest.skip("only root can be several users, and they must be able to read the libraries")
    return people(several=True)


@pytest.fixture
def commons() -> Iterator[Path]:
    """A folder that everybody can enter."""
    with _open_folder() as folder:
        yield folder


@pytest.fixture
def project(commons: Path) -> Path:
    """The programs and the rows of everybody's workflows."""
    return make_project(commons)


@pytest.fixture
def cache(commons: Path) -> Path:
    """A cache that was set up for a group."""
    return make_cache(commons)

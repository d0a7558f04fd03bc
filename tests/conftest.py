"""No test asks the hub, those that take minutes start first, and what is dear is made once."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Before anything imports the hub's client; tests of the hub start processes of their own.
os.environ["HF_HUB_OFFLINE"] = "1"

FOLDER = Path(__file__).parent
LONG = ("workflow/test_demo", "slurm", "workflow", "identity/test_mutants", "unit/train")
"""Files and folders, longest first; all others follow in their usual order."""

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
"""Name of a folder, what fills it -> the folder, filled once in this run of the tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the long ones to the front."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(FOLDER).as_posix()
        return next((i for i, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Return what fills a folder for all processes of one `pytest -n`; nobody changes it later.

    Whoever asks first fills it, and the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, whole = shared / f"once-{name}", shared / f"once-{name}.whole"
        with (shared / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return once

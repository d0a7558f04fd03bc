"""No test asks the hub, and those that take minutes start first when `make test` runs several."""

import os
from pathlib import Path

import pytest

# Before anything imports the hub's client; tests of the hub start processes of their own.
os.environ["HF_HUB_OFFLINE"] = "1"

FOLDER = Path(__file__).parent
LONG = ("workflow/test_demo", "slurm", "workflow")
"""Files and folders, longest first; all others follow in their usual order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the long ones to the front."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(FOLDER).as_posix()
        return next((i for i, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)

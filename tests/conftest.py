"""Which test files start first when `make test` runs several at once: those that take minutes."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
LONG = ("workflow/test_demo", "slurm", "workflow")
"""Files and folders, longest first; all others follow in their usual order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the long ones to the front."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(FOLDER).as_posix()
        return next((i for i, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)

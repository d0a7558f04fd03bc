"""Which tests share a process when `make test` runs several: those that share a costly fixture."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
LONG = ("slurm", "test_demo", "workflow")
"""Groups that take minutes, longest wait first: they start before the rest."""


def group_of(path: Path) -> str | None:
    """Return the group of a test file; None where each test may go anywhere."""
    folder = path.relative_to(FOLDER).parts[0]
    return next((name for name in (path.stem, folder) if name in (*LONG, "cache")), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the groups and move the long ones to the front."""
    order = {name: place for place, name in enumerate(LONG)}
    places = {item: order.get(group_of(item.path) or "", len(LONG)) for item in items}
    for item in items:
        if group := group_of(item.path):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=places.__getitem__)

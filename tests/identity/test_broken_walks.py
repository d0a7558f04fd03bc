"""Broken walks and stores: each fails a row of the table."""

import pytest

from scripts.lib.artifacts import store
from scripts.lib.plan import missing
from tests.identity.table import failures
from tests.identity.test_table import ROWS


def always(files):
    """Return a walk's visit that takes every edge for one that reads files, or for none."""
    honest = missing._Walk.visit
    return lambda self, id, **_: honest(self, id, files=files)


@pytest.mark.parametrize(
    ("place", "name", "mutant", "row", "fault"),
    [
        (
            missing._Walk,
            "visit",
            always(files=False),
            "shards are deleted and a run on them is added",
            "stale",
        ),
        (
            missing._Walk,
            "visit",
            always(files=True),
            "every heavy folder is evicted and a category map changed",
            "needless",
        ),
        (
            store,
            "_has_size",
            lambda path, size: path.is_file(),
            "categories are cut short and the comparison is to be made",
            "stale",
        ),
        (
            store,
            "_read",
            lambda id, path: None,
            "nothing changes",
            "needless",
        ),
        (
            store.Store,
            "_manifest_paths",
            lambda self, id, hashes: [(self._manifest_path(self.results, *id.split("/")), None)],
            "a fresh clone with the shared cache",
            "needless",
        ),
        (
            store.Store,
            "_manifest_paths",
            lambda self, id, hashes: [(self._manifest_path(self.results, *id.split("/")), None)],
            "a raw file is renamed",
            "needless",
        ),
    ],
    ids=["no reads", "only reads", "no sizes", "no manifests", "no cache", "no index"],
)
def test_a_broken_walk_or_store_fails_a_row(
    place, name, mutant, row, fault, worlds, monkeypatch, tmp_path
):
    monkeypatch.setattr(place, name, mutant)
    (wanted,) = (known for known in ROWS if known.name == row)
    said = " ".join(failures([wanted], worlds, tmp_path / "w"))
    assert fault in said

"""The worlds that every test of identity starts from: made once, copied for each test."""

from pathlib import Path

import pytest

from scripts.lib import hash_memory
from tests.identity.world import World, make_hub_world, make_local_world


@pytest.fixture(scope="session")
def worlds(tmp_path_factory) -> dict[str, World]:
    """The fully run worlds by name; not to be changed."""
    folder = tmp_path_factory.mktemp("worlds")
    local, hub = make_local_world(folder / "local"), make_hub_world(folder / "hub")
    local.run()
    hub.run()
    shared = _share(local, folder / "shared")
    return {
        "local": local,
        "hub": hub,
        "shared": shared,
        "clone": shared.copy(folder / "clone", results=False),
    }


def _share(local: World, base: Path) -> World:
    """Return a world that was run with a shared cache."""
    shared = local.copy(base, results=False)
    (base / "cache").mkdir()
    shared.caches = ("cache",)
    shared.run()
    return shared


@pytest.fixture(autouse=True)
def trusting_memory(monkeypatch):
    """Let hashes be remembered at once, so that tests can show when they are not trusted."""
    monkeypatch.setattr(hash_memory, "SETTLED_SECONDS", -1.0)


@pytest.fixture
def world(worlds, tmp_path) -> World:
    """A fully run local world of one's own."""
    return worlds["local"].copy(tmp_path / "world")


@pytest.fixture
def clone(worlds, tmp_path) -> World:
    """A world in which nothing was made, with the shared cache of one in which all was."""
    return worlds["clone"].copy(tmp_path / "clone")

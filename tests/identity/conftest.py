"""The worlds that every test of identity starts from: made once, copied for each test."""

import pytest

from tests.identity.world import World, make_hub_world, make_local_world


@pytest.fixture(scope="session")
def worlds(tmp_path_factory) -> dict[str, World]:
    """The fully run worlds by name; not to be changed."""
    made = {
        "local": make_local_world(tmp_path_factory.mktemp("worlds") / "local"),
        "hub": make_hub_world(tmp_path_factory.mktemp("worlds") / "hub"),
    }
    for world in made.values():
        world.run()
    return made


@pytest.fixture
def world(worlds, tmp_path) -> World:
    """A fully run local world of one's own."""
    return worlds["local"].copy(tmp_path / "world")

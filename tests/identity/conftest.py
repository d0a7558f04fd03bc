"""The worlds that every test of identity starts from: made once, copied for each test."""

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.lib.artifacts import pins
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.jobs import checks
from scripts.lib.plan import invocation, remembered
from tests.conftest import MakeOnce
from tests.identity.rows_lm_eval import make_task_world
from tests.identity.world import World
from tests.identity.worlds import (
    make_blend_world,
    make_choice_world,
    make_full_world,
    make_held_out_world,
    make_hub_world,
    make_left_out_world,
    make_local_world,
    make_mixture_world,
    make_pairs_world,
)


@pytest.fixture(scope="session")
def worlds(make_once: MakeOnce, tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    """The fully run worlds by name; not to be changed."""

    def make(folder: Path) -> None:
        with projects_below_are_read_once(folder, readers()):
            made = _make_worlds(folder)
        told = {name: [world.config, world.caches] for name, world in made.items()}
        (folder / "worlds.json").write_text(json.dumps(told))

    # A copy for this process: tests make hard links to its files, which changes these files' ctime,
    # and a job takes a file with another ctime than was planned for another file.
    folder = tmp_path_factory.mktemp("worlds") / "own"
    shutil.copytree(make_once("worlds", make), folder, symlinks=True)
    told = json.loads((folder / "worlds.json").read_text())
    return {
        name: World(folder / name, config, tuple(caches)) for name, (config, caches) in told.items()
    }


def _make_worlds(folder: Path) -> dict[str, World]:
    local, hub = make_local_world(folder / "local"), make_hub_world(folder / "hub")
    blend = make_blend_world(folder / "blend")
    choice = make_choice_world(folder / "choice")
    full = make_full_world(folder / "full")
    held_out = make_held_out_world(folder / "held_out")
    mixture = make_mixture_world(folder / "mixture")
    tasks = make_task_world(folder / "tasks")
    pairs = make_pairs_world(folder / "pairs")
    left_out = make_left_out_world(folder / "left_out")
    for world in (local, hub, blend, choice, full, held_out, mixture, tasks, pairs, left_out):
        world.run()
    shared = _share(local, folder / "shared")
    return {
        "local": local,
        "hub": hub,
        "blend": blend,
        "choice": choice,
        "full": full,
        "held_out": held_out,
        "mixture": mixture,
        "tasks": tasks,
        "pairs": pairs,
        "left_out": left_out,
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


Readers = tuple[Callable[[Path], ProjectCode], Callable[[Path], dict[str, str]]]
"""What reads the code of a project, and its lock."""


def readers() -> Readers:
    """Return readers that remember what they read."""
    return functools.cache(ProjectCode), functools.cache(read_lock)


@contextmanager
def projects_below_are_read_once(folder: Path, remembering: Readers) -> Iterator[None]:
    """Digest the code and read the lock of projects below *folder* once, for speed.

    So are the versions of the libraries, which stay what they are while tests run. What digests
    earlier plans found is not remembered here: some tests break how they are computed.
    """
    code_once, lock_once = remembering

    def code(root: Path) -> ProjectCode:
        place = root.resolve()
        return (code_once if place.is_relative_to(folder) else ProjectCode)(place)

    def lock(path: Path) -> dict[str, str]:
        place = path.parent.resolve()
        return (lock_once if place.is_relative_to(folder) else read_lock)(place / path.name)

    def computed(_: Path, root: Path) -> SimpleNamespace:
        project = code(root)
        return SimpleNamespace(
            digest=project.digest, digest_of=project.digest_of, save=lambda: None
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invocation, "CodeMemory", computed)
        patch.setattr(checks, "ProjectCode", code)
        patch.setattr(invocation, "read_lock", lock)
        patch.setattr(pins, "version", functools.cache(pins.version))
        yield


@pytest.fixture(scope="session")
def remembering() -> Readers:
    """Readers that remember what they read, kept for all modules."""
    return readers()


@pytest.fixture(autouse=True, scope="module")
def unchanged_projects_are_read_once(worlds, remembering):
    """Read the worlds' own projects once.

    A test that edits code or lock has a project of its own, which is read each time.
    """
    with projects_below_are_read_once(worlds["local"].base.parent.resolve(), remembering):
        yield


@pytest.fixture(autouse=True)
def trusting_memory(monkeypatch):
    """Let hashes be remembered at once, so that tests can show when they are not trusted."""
    monkeypatch.setattr(remembered, "SETTLED_SECONDS", -1.0)


@pytest.fixture
def world(worlds, tmp_path) -> World:
    """A fully run local world of one's own."""
    return worlds["local"].copy(tmp_path / "world")


@pytest.fixture
def clone(worlds, tmp_path) -> World:
    """A world in which nothing was made, with the shared cache of one in which all was."""
    return worlds["clone"].copy(tmp_path / "clone")

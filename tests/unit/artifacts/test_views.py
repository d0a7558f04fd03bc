"""Links for people: they say what is there now, and nothing else."""

import os
import shutil

import pytest

from scripts.lib.artifacts import links as views
from tests.identity.world import World
from tests.identity.worlds import make_local_world, make_mixture_world


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> World:
    world = make_local_world(tmp_path_factory.mktemp("views") / "world")
    world.run()
    for place in world.results.glob("*/*/"):
        (place / ".snakemake_timestamp").touch()
    return world


@pytest.fixture
def world(made, tmp_path) -> World:
    return made.copy(tmp_path / "world")


def refresh(world: World) -> None:
    graph = world.graph()
    with world.inside():
        views.refresh(graph, world.store())


def names(world: World, folder: str) -> set[str]:
    return {place.name for place in (world.results / folder).iterdir()}


def test_a_run_shows_its_artifacts_and_scores(world):
    refresh(world)
    assert names(world, "runs") == {"tiny", "gentle", "strong", "chatty"}
    made = {"adapter", "chat", "examples", "model", "proof", "shards", "scores"}
    assert names(world, "runs/gentle") == made
    assert (world.results / "runs/gentle/adapter").resolve() == (
        world.results / world.id("adapters:gentle")
    )
    assert (world.results / "runs/gentle/model").resolve().parent.name == "merged"
    assert (world.results / "runs/tiny/model").resolve().parent.name == "models"


def test_links_lead_somewhere_and_move_with_the_folder(world):
    refresh(world)
    links = [p for p in (world.results / "runs").rglob("*") if p.is_symlink()]
    links += [p for p in (world.results / "report").iterdir() if p.is_symlink()]
    assert len(links) > 20
    for link in links:
        assert link.exists(), link
        assert not os.path.isabs(os.readlink(link)), link


def test_only_files_of_the_artifacts_are_shown(world):
    refresh(world)
    for folder in ("report", "runs/gentle/scores"):
        assert not {name for name in names(world, folder) if name.startswith(".")}


def test_what_is_gone_has_no_link(world):
    refresh(world)
    world.evict("merged:gentle")
    refresh(world)
    assert "model" not in names(world, "runs/gentle")
    assert "model" in names(world, "runs/strong")


def test_a_run_that_the_config_no_longer_has_goes(world):
    refresh(world)
    del world.config["runs"]["strong"]
    refresh(world)
    assert names(world, "runs") == {"tiny", "gentle", "chatty"}
    assert (world.results / "adapters").is_dir()


def test_removing_a_view_removes_no_artifact(world):
    refresh(world)
    before = sorted(world.results.glob("adapters/**/*"))
    world.config["runs"] = {}
    refresh(world)
    assert sorted(world.results.glob("adapters/**/*")) == before


def test_a_setting_that_changed_has_no_link_to_the_old_work(world):
    refresh(world)
    world.config["runs"]["gentle"]["training"]["seed"] = 5
    refresh(world)
    assert names(world, "runs/gentle") == {"chat", "examples", "shards", "scores"}
    assert names(world, "runs/gentle/scores") == set()


def test_the_newest_report_stays_until_there_is_another(world):
    refresh(world)
    old = (world.results / "report/made.txt").resolve()
    world.config["report"] = {"title": "Another"}
    refresh(world)
    assert (world.results / "report/made.txt").resolve() == old or "comparisons" in str(old)
    world.run()
    refresh(world)
    assert (world.results / "report/made.txt").exists()


def test_refreshing_twice_changes_nothing(world):
    refresh(world)
    before = {p: os.readlink(p) for p in world.results.rglob("*") if p.is_symlink()}
    refresh(world)
    assert {p: os.readlink(p) for p in world.results.rglob("*") if p.is_symlink()} == before


def test_what_lies_in_a_cache_is_linked_there(world, tmp_path):
    world.caches = ("cache",)
    (world.base / "cache").mkdir()
    shutil.rmtree(world.results)
    world.run()
    shutil.rmtree(world.results)
    refresh(world)
    adapter = world.results / "runs/gentle/adapter"
    assert adapter.resolve().is_relative_to((world.base / "cache").resolve())


def test_a_mixture_shows_each_of_its_datasets_and_one_dataset_shows_itself(tmp_path):
    world = make_mixture_world(tmp_path / "world")
    world.run()
    refresh(world)
    for stage, folder in (("shards", "shards"), ("chat", "chat"), ("examples", "examples")):
        assert names(world, f"runs/gentle/{folder}") == {"orders", "chats"}
        for name in ("orders", "chats"):
            place = (world.results / f"runs/gentle/{folder}/{name}").resolve()
            assert place.parent.name == stage and place.name.startswith(name)
    mixed = world.config["runs"]["gentle"]["dataset"]
    world.config["runs"]["gentle"]["dataset"] = "orders"
    refresh(world)
    shards = world.results / "runs/gentle/shards"
    assert shards.is_symlink() and shards.resolve().name.startswith("orders")
    before = {place.name for place in shards.resolve().iterdir()}
    world.config["runs"]["gentle"]["dataset"] = mixed
    refresh(world)
    assert names(world, "runs/gentle/shards") == {"orders", "chats"}
    (orders,) = (world.results / "shards").glob("orders-*/")
    assert {place.name for place in orders.iterdir()} == before, "no link in an artifact"

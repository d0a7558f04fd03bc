"""Tidying: what may go is what nothing leads to; what stays valid is recorded."""

import os
import shutil
import time
from pathlib import Path

import pytest

from scripts.lib.artifacts import in_use, upkeep
from scripts.lib.plan.missing import make_plan
from tests.identity.rows_config import put
from tests.identity.rows_files import add_constant
from tests.identity.world import World
from tests.identity.worlds import make_local_world


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> World:
    world = make_local_world(tmp_path_factory.mktemp("upkeep") / "world")
    world.run()
    return world


@pytest.fixture
def world(made, tmp_path) -> World:
    return made.copy(tmp_path / "world")


def unreached(world: World) -> set[str]:
    graph = world.graph()
    with world.inside():
        found = list(upkeep.unreached(graph, world.store()))
    assert all(size >= 0 for _, size in found)
    return {path.relative_to("results").as_posix() for path, _ in found}


def evict(world: World) -> list[str]:
    graph = world.graph()
    with world.inside():
        return [path.as_posix() for path in upkeep.evict_merged(graph, world.store())]


def test_nothing_that_the_config_reaches_is_listed(world):
    assert unreached(world) == set()


def test_what_a_changed_setting_left_behind_is_listed_with_its_manifest(world):
    old = [world.id(f"{stage}:gentle") for stage in ("adapters", "merged", "proofs")]
    put("runs/gentle/training/seed", 5)(world)
    world.run()
    found = unreached(world)
    assert {*old, *(f"{id}.json" for id in old)} <= found
    assert not any(id.startswith(("shards/", "chat/", "raw/", "models/")) for id in found)
    assert not {world.id("adapters:gentle"), world.id("adapters:strong")} & found


def test_removing_what_is_listed_leaves_nothing_to_make(world):
    put("runs/gentle/training/seed", 5)(world)
    world.run()
    for name in unreached(world):
        place = world.results / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert unreached(world) == set()
    assert world.missing() == set()


def test_what_is_reached_by_its_bytes_only_is_kept(world):
    """After a refactoring the old adapters serve until their jobs have taken them over."""
    old = world.id("adapters:gentle")
    add_constant("scripts/format_chat.py")(world)
    world.run(stages=["chat"])
    assert old not in unreached(world)


def test_what_lies_under_other_words_is_kept(world):
    old = world.id("raw:chats")
    (world.home / "data/chats.jsonl").rename(world.home / "data/talks.jsonl")
    put("datasets/chats/path", "data/talks.jsonl")(world)
    assert world.id("raw:talks") != old
    assert old not in unreached(world)


def test_evicted_artifacts_of_the_config_keep_their_manifests(world):
    for run in ("gentle", "strong", "chatty"):
        world.evict(f"merged:{run}")
    assert unreached(world) == set()


def test_leftovers_of_killed_jobs_quarantine_and_old_scratch_are_listed(world):
    for name in (
        "adapters/.x.part-123",
        "adapters/.running.part-456",
        "adapters/.quarantine/x",
        "scratch/adapters-ffff",
    ):
        (world.results / name).mkdir(parents=True)
    long_ago = time.time() - 2 * 24 * 60 * 60
    os.utime(world.results / "adapters/.x.part-123", (long_ago, long_ago))
    assert unreached(world) == {
        "adapters/.x.part-123",
        "adapters/.quarantine",
        "scratch/adapters-ffff",
    }


def test_scratch_of_work_that_the_config_asks_for_is_kept(world):
    put("runs/gentle/training/seed", 5)(world)
    key = world.id("adapters:gentle").rpartition("-")[2]
    (world.results / f"scratch/adapters-{key}").mkdir(parents=True)
    assert f"scratch/adapters-{key}" not in unreached(world)


def test_what_a_running_job_of_another_config_uses_is_left_alone(world):
    """Its plan, its inputs, its scratch and its half-made folder, even when it runs for days."""
    put("runs/gentle/training/seed", 5)(world)
    invocation, id = world.invoke(), world.id("adapters:gentle")
    key = id.rpartition("-")[2]
    (world.results / f"scratch/adapters-{key}").mkdir(parents=True)
    shards = world.id("shards:orders-tiny")
    put("datasets/orders/system", "Be brief.")(world)
    assert {shards, f"{shards}.json", f"scratch/adapters-{key}"} <= unreached(world)
    meanwhile: list[set[str]] = []

    def look(_: str) -> None:
        (part,) = (world.results / "adapters").glob(".*.part-*")
        long_ago = time.time() - 2 * 24 * 60 * 60
        for place in (part, world.home / invocation.file):
            os.utime(place, (long_ago, long_ago))
        meanwhile.append(unreached(world))

    world.during = look
    world.job(invocation, id)
    (left,) = meanwhile
    assert not {shards, f"{shards}.json", id, f"scratch/adapters-{key}"} & left
    assert not any(".part-" in name or name.startswith("plans/") for name in left)
    assert {shards, id} <= unreached(world), "the job has ended"


def test_a_workflow_keeps_all_its_config_reaches_until_it_ends_or_is_long_silent(world):
    graph = world.graph()
    with world.inside():
        store = world.store()
        made = make_plan(graph, store, redo=["gentle"])
        use = in_use.of_plan(made.graph, made.found, Path("x.json"), store)
    put("runs/gentle/training/seed", 5)(world)
    old = world.manifest(next(id for id in graph.artifacts if id.startswith("adapters/")))["id"]
    assert old in unreached(world)
    with use:
        assert old not in unreached(world)
        with world.inside():
            assert not upkeep.discard(store, store.results / old)
        (lease,) = in_use.leases(world.results)
        silent = time.time() - 2 * in_use.LEASE_SECONDS
        os.utime(lease, (silent, silent))
        assert old in unreached(world), "killed with -9: it stops counting"
    assert old in unreached(world)
    assert list(in_use.leases(world.results)) == []


def test_a_merged_model_goes_when_its_proof_and_scores_are_there(world):
    put("runs/gentle/keep_merged", False)(world)
    id = world.id("merged:gentle")
    assert evict(world) == [f"results/{id}"]
    assert not (world.results / id).exists()
    assert (world.results / f"{id}.json").exists()
    assert world.missing() == set()


@pytest.mark.parametrize("needed", ["proofs:gentle", "scores:gentle/mmlu", "scores:gentle/exact"])
def test_a_merged_model_stays_while_something_needs_it(world, needed):
    put("runs/gentle/keep_merged", False)(world)
    for id in world.ids(needed):
        (world.results / f"{id}.json").unlink()
    assert evict(world) == []


def test_a_merged_model_stays_when_another_run_keeps_it(world):
    world.config["runs"]["twin"] = world.config["runs"]["gentle"]
    put("runs/gentle", {**world.config["runs"]["gentle"], "keep_merged": False})(world)
    assert evict(world) == []


def test_a_merged_model_goes_under_whatever_words_it_lies(world):
    """The model's folder was renamed: its artifacts lie under the old words."""
    id = world.id("merged:gentle")
    (world.home / "data/tiny").rename(world.home / "data/little")
    put("models/tiny/path", "data/little")(world)
    put("runs/gentle/keep_merged", False)(world)
    assert evict(world) == [f"results/{id}"]


def test_a_merged_model_stays_while_a_workflow_of_another_config_uses_it(world):
    put("runs/gentle/keep_merged", False)(world)
    id = world.id("merged:gentle")
    with world.inside(), in_use.Use(Path("results"), [id], []):
        assert evict(world) == []
    assert evict(world) == [f"results/{id}"]


def test_a_shared_cache_is_never_evicted_from(world):
    world.caches = ("cache",)
    shutil.rmtree(world.results)
    world.run()
    before = sorted((world.base / "cache").rglob("*"))
    put("runs/gentle/keep_merged", False)(world)
    evict(world)
    assert sorted((world.base / "cache").rglob("*")) == before

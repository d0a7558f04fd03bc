"""What jobs do when the world moves under them: shortcuts, refusals, damage, work done again."""

import os
import shutil

import pytest

from tests.identity.rows_config import put
from tests.identity.rows_files import add_constant
from tests.identity.rows_results import damage
from tests.identity.table import (
    CHAT,
    END,
    EXAMPLES,
    RUNS,
    SEARCHES,
    SHARDS,
    rendered,
    scored,
    searched,
    tuned,
)
from tests.identity.world import World
from tests.identity.worlds import jsonl

FROM_CHAT = CHAT | SEARCHES | SHARDS | tuned(*RUNS) | END


def left_in(world: World, stage: str) -> list[str]:
    """Return the temporary folders in a stage."""
    return [place.name for place in (world.results / stage).iterdir() if ".part-" in place.name]


def test_a_refactoring_that_changes_no_byte_trains_nothing_again(world):
    add_constant("scripts/format_chat.py")(world)
    assert world.missing() == FROM_CHAT
    assert world.run() == CHAT | END
    assert world.missing() == set()


def test_once_the_equal_bytes_are_there_nothing_is_even_planned(world):
    add_constant("scripts/format_chat.py")(world)
    world.run(stages=["chat"])
    assert world.missing() == END


def test_leaving_out_bad_rows_where_there_are_none_asks_nobody_again(world):
    put("benchmarks/exact/on_bad_row", "leave_out")(world)
    assert world.run() == {"benchmarks:exact"} | END
    assert world.missing() == set()


NEW_BENCHMARK = {"kind": "exact_match", "path": "data/more/questions.jsonl"}


def test_a_benchmark_that_finds_nothing_more_trains_nothing_again(world):
    """What it found decides which rows go: where no other row goes, the work is taken over."""
    world.config["runs"] = {"gentle": world.config["runs"]["gentle"] | {"on_contamination": "drop"}}
    world.run()
    world.write("data/more/questions.jsonl", jsonl({"prompt": "a new one", "answer": "x"}))
    world.config["benchmarks"]["more"] = NEW_BENCHMARK
    assert {"adapters:gentle", *rendered("orders-tiny")} <= world.missing()
    done = world.run()
    asked = {"scores:tiny/more", "scores:gentle/more", "categories:tiny/more"}
    searches = searched("orders", on=("mmlu", "exact", "more"))
    new = {"benchmarks:more", "decontaminated:orders", "categories:gentle/more"} | asked
    assert done - searches == new | END
    assert "contamination:orders-more" in done
    assert world.missing() == set()


def test_a_benchmark_for_which_more_rows_go_trains_again(world):
    world.config["runs"] = {"gentle": world.config["runs"]["gentle"] | {"on_contamination": "drop"}}
    world.run()
    world.write("data/more/questions.jsonl", jsonl({"prompt": "a new one", "answer": "x"}))
    world.config["benchmarks"]["more"] = NEW_BENCHMARK
    world.salts["decontaminated"] = "fewer rows"
    assert {"decontaminated:orders", "adapters:gentle", *rendered("orders-tiny")} <= world.run()


def test_a_benchmark_trains_nothing_where_what_is_found_is_only_reported(world):
    world.write("data/more/questions.jsonl", jsonl({"prompt": "a new one", "answer": "x"}))
    world.config["benchmarks"]["more"] = NEW_BENCHMARK
    stages = {word.partition(":")[0] for word in world.missing()}
    assert stages == {"benchmarks", "contamination", "scores", "categories"} | END


def test_an_upstream_change_of_bytes_is_followed_to_the_end(world):
    add_constant("scripts/format_chat.py")(world)
    world.salts["chat"] = "other bytes"
    assert world.run() == FROM_CHAT
    assert world.missing() == set()


def test_only_what_reads_the_changed_bytes_is_done_again(world):
    """New merging code that gives the old bytes: proofs and scores are taken over."""
    add_constant("scripts/merge_adapter.py")(world)
    assert world.run() == {f"merged:{run}" for run in RUNS} | END


def test_a_taken_over_artifact_keeps_its_facts_and_says_its_own_inputs(world):
    old = world.manifest(world.id("adapters:gentle"))
    add_constant("scripts/format_chat.py")(world)
    world.run()
    new = world.manifest(world.id("adapters:gentle"))
    assert new["key"] != old["key"]
    assert (new["content"], new["facts"]) == (old["content"], old["facts"])
    assert new["inputs"]["shards"][0]["id"] == world.id("shards:orders-tiny")


def test_work_is_not_taken_over_from_what_was_made_anew_of_other_bytes(world):
    """An adapter made again from other shards is no longer the work on the first ones."""
    world.salts["shards"] = "other bytes"
    put("redo", "shards")(world)
    world.run()
    del world.config["redo"], world.salts["shards"]
    add_constant("scripts/render_shards.py")(world)
    done = world.run()
    adapter = world.manifest(world.id("adapters:gentle"))
    shards = world.manifest(world.id("shards:orders-tiny"))
    assert adapter["inputs"]["shards"][0]["content"] == shards["content"]
    assert "adapters:gentle" in done


def test_code_edited_between_plan_and_job_makes_nothing(world):
    put("runs/gentle/training/seed", 5)(world)
    invocation = world.invoke()
    id = world.id("adapters:gentle")
    add_constant("scripts/lib/train/loss_verdict.py")(world)
    with pytest.raises(SystemExit, match="edited since this workflow was planned"):
        world.job(invocation, id)
    assert not (world.results / id).exists()
    assert not (world.results / f"{id}.json").exists()
    assert world.worked == []


def test_code_edited_while_the_job_works_makes_nothing(world):
    put("runs/gentle/training/seed", 5)(world)
    invocation, id = world.invoke(), world.id("adapters:gentle")
    world.during = lambda _: add_constant("scripts/lib/train/loss_verdict.py")(world)
    with pytest.raises(SystemExit, match="edited since"):
        world.job(invocation, id)
    assert world.worked == [id]
    assert not (world.results / f"{id}.json").exists()
    assert left_in(world, "adapters") == []


def test_comments_and_plumbing_may_be_edited_while_jobs_wait(world):
    put("runs/gentle/training/seed", 5)(world)
    invocation = world.invoke()
    world.edit("scripts/lib/train/loss_verdict.py", lambda text: f"# a comment\n{text}")
    add_constant("scripts/lib/errors.py")(world)
    world.run(invocation)
    assert world.missing() == set()


@pytest.mark.parametrize("how", ["rewritten", "removed", "hidden"])
def test_a_raw_file_that_changed_between_plan_and_job_is_refused(world, how):
    name = "data/orders/train.jsonl"
    world.write(name, '{"prompt": "e", "completion": "f"}\n')
    invocation, id = world.invoke(), world.id("raw:orders")
    place = world.home / name
    if how == "removed":
        place.unlink()
    else:
        old = place.stat()
        place.write_text('{"prompt": "e", "completion": "x"}\n')
        if how == "hidden":
            os.utime(place, ns=(old.st_atime_ns, old.st_mtime_ns))
    with pytest.raises(SystemExit, match=r"train\.jsonl was changed since"):
        world.job(invocation, id)
    assert not (world.results / id).exists()


def test_jobs_that_wait_do_not_look_at_the_config(world):
    put("runs/gentle/training/seed", 5)(world)
    invocation, id = world.invoke(), world.id("adapters:gentle")
    put("runs/gentle/training/seed", 6)(world)
    world.job(invocation, id)
    assert world.manifest(id)["spec"]["training"]["seed"] == 5


def test_a_lock_edited_while_jobs_wait_changes_nothing_for_them(world):
    """What counts is what is installed, and that is what the plan was made for."""
    put("runs/gentle/training/seed", 5)(world)
    invocation, id = world.invoke(), world.id("adapters:gentle")
    world.edit("requirements.lock", lambda text: text.replace("\ntrl==", "\ntrl==9"))
    world.job(invocation, id)
    assert (
        world.manifest(id)["pins"]["trl"]
        in (world.root.parent / "project/requirements.lock").read_text()
    )
    assert "adapters:gentle" in world.missing()


def test_a_lock_that_is_not_what_is_installed_makes_nothing(world):
    world.edit("requirements.lock", lambda text: text.replace("\ntrl==", "\ntrl==9"))
    invocation, id = world.invoke(), world.id("adapters:gentle")
    with pytest.raises(SystemExit, match=r"trl: locked 9.*run `make env`"):
        world.job(invocation, id)
    assert not (world.results / f"{id}.json").exists()


def test_a_job_that_fails_leaves_nothing_but_its_scratch(world):
    put("runs/gentle/training/seed", 5)(world)
    invocation, id = world.invoke(), world.id("adapters:gentle")

    def fail(_: str) -> None:
        raise RuntimeError("killed")

    world.during = fail
    with pytest.raises(RuntimeError):
        world.job(invocation, id)
    assert left_in(world, "adapters") == []
    assert world.missing() >= {"adapters:gentle"}


def test_a_job_of_another_plan_is_refused(world):
    invocation = world.invoke()
    put("runs/gentle/training/seed", 5)(world)
    later = world.invoke()
    with pytest.raises(SystemExit, match="does not plan adapters/"), world.inside():
        from scripts.lib.jobs.job import run_job

        id = world.id("adapters:gentle")
        assert id in later.plan.missing
        argv = ["--plan", str(invocation.file), "--artifact", f"results/{id}"]
        run_job("train_adapter", lambda job: {}, [*argv, "--manifest", f"results/{id}.json"])


@pytest.mark.parametrize("where", ["results", "cache"])
def test_damage_of_equal_size_is_noticed_put_aside_and_made_anew(world, clone, where):
    world = world if where == "results" else clone
    root = "home/results" if where == "results" else "cache"
    world.run()
    damage("shards:orders-tiny", same_size=True, root=root)(world)
    if where == "cache":
        shutil.rmtree(world.results)
    put("runs/gentle/training/seed", 5)(world)
    assert world.missing() == tuned("gentle") | END, "size and name are right: nobody noticed"
    with pytest.raises(SystemExit, match=r"not what its manifest says.*Run again"):
        world.run()
    assert "shards:orders-tiny" in world.missing()
    world.run()
    assert world.missing() == set()
    assert (world.results / world.id("shards:orders-tiny") / "made.txt").read_text()[0] != "?"


def test_a_file_that_vanishes_between_plan_and_job_is_said(world):
    put("runs/gentle/training/seed", 5)(world)
    invocation = world.invoke()
    shards = world.results / world.id("shards:orders-tiny")
    (shards / "made.txt").unlink()
    with pytest.raises(SystemExit, match=r"shards/.*run again|Run again"):
        world.job(invocation, world.id("adapters:gentle"))


def test_redo_gives_new_bytes_and_is_then_done(world):
    id = world.id("adapters:gentle")
    old = world.manifest(id)
    world.salts["adapters"] = "another GPU"
    put("redo", "gentle")(world)
    assert world.run() == tuned("gentle") | END
    assert world.manifest(id)["content"] != old["content"]
    del world.config["redo"]
    assert world.missing() == set()


def test_redo_replaces_what_the_cache_holds(clone):
    put("redo", "gentle")(clone)
    clone.salts["adapters"] = "another GPU"
    clone.run()
    made = clone.manifest(clone.id("adapters:gentle"))["content"]
    shutil.rmtree(clone.results)
    del clone.config["redo"]
    assert clone.missing() == END
    found = clone.plan().found[clone.id("adapters:gentle")]
    assert found.content == made


def test_work_that_another_clone_did_meanwhile_is_taken(clone, tmp_path):
    """Two clones plan the same run; the second finds it done when its job starts."""
    other = clone.copy(tmp_path / "other")
    (other.base / "cache").rename(other.base / "unused")
    (other.base / "cache").symlink_to(clone.base / "cache")
    for one in (clone, other):
        put("runs/gentle/training/seed", 5)(one)
    invocation = other.invoke()
    clone.run()
    assert "adapters:gentle" not in other.run(invocation)


@pytest.mark.parametrize(
    ("stage", "facts", "config", "refused", "words"),
    [
        (
            "chat",
            {"summary": {"rows": 2, "dropped": 1, "by_reason": {"x": 1}, "dropped_fraction": 0.5}},
            None,
            "shards:orders-tiny",
            "1 of 2 rows had to be dropped",
        ),
        (
            "shards",
            {"contract": {"passed": False, "checks": [{"name": "prefix", "passed": False}]}},
            None,
            "adapters:gentle",
            "the contract does not hold: prefix",
        ),
        (
            "shards",
            {
                "contract": {"passed": True, "checks": []},
                "tokens": {"conversations": 2, "kept": 1, "dropped": {"template_refuses": 1}},
            },
            None,
            "adapters:gentle",
            "1 of 2 conversations were dropped in rendering .template_refuses 1.",
        ),
        (
            "adapters",
            {"verdict": {"verdict": "diverging", "evidence": "9 > 1.", "remedy": "Slow."}},
            put("runs/gentle/on_verdict", "stop"),
            "merged:gentle",
            "training looks diverging: 9 > 1. Slow.",
        ),
        (
            "proofs",
            {"proof": {"passed": False, "checks": [{"name": "logits", "passed": False}]}},
            None,
            "scores:gentle/exact",
            "the proof does not hold: logits",
        ),
    ],
    ids=["ledger", "contract", "rendering", "verdict", "proof"],
)
def test_a_gate_refuses_with_its_evidence_and_keeps_the_work(
    world, stage, facts, config, refused, words
):
    if config:
        config(world)
    shutil.rmtree(world.results)
    world.facts[stage] = facts
    invocation = world.invoke()
    with pytest.raises(SystemExit, match=words):
        world.run(invocation)
    with pytest.raises(SystemExit, match=words):
        world.job(invocation, world.id(refused))
    assert any(id.startswith(f"{stage}/") for id in world.worked)
    assert not (world.results / f"{world.id(refused)}.json").exists()


def test_a_verdict_that_is_only_reported_stops_nothing(world):
    shutil.rmtree(world.results)
    world.facts["adapters"] = {"verdict": {"verdict": "diverging", "evidence": "", "remedy": ""}}
    world.run()
    assert world.missing() == set()


HALF_LOST = {
    "chat": {"summary": {"rows": 2, "dropped": 1, "by_reason": {}, "dropped_fraction": 0.5}},
    "shards": {
        "contract": {"passed": True, "checks": []},
        "tokens": {"conversations": 2, "kept": 1, "dropped": {"too_long": 1}, "growth": 1.0},
    },
}


@pytest.mark.parametrize(
    ("stage", "refused", "made"),
    [
        ("chat", SHARDS, CHAT | {"raw:orders", "models:tiny"}),
        ("shards", {"adapters:gentle"}, CHAT | (SHARDS - EXAMPLES)),
    ],
)
def test_a_relaxed_gate_goes_on_where_it_stopped(world, stage, refused, made):
    shutil.rmtree(world.results)
    world.facts[stage] = HALF_LOST[stage]
    world.run(stages=["models", "raw", "benchmarks", "chat", stage])
    with pytest.raises(SystemExit):
        world.run()
    for name in ("orders", "chats"):
        put(f"datasets/{name}/max_dropped_fraction", 0.5)(world)
    missing = world.missing()
    assert missing >= refused
    assert not missing & made
    world.run()
    assert world.missing() == set()


def test_two_runs_alike_are_made_once(world):
    world.config["runs"]["twin"] = {**world.config["runs"]["gentle"]}
    shutil.rmtree(world.results)
    done = world.run()
    assert len(world.worked) == len(set(world.worked)) == 54
    assert {"adapters:gentle", "adapters:twin"} | scored("twin") <= done
    assert world.id("adapters:gentle") == world.id("adapters:twin")

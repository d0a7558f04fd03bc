"""Why a job runs, in words: a change is made to a world that was run, and planned."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.plan.reasons import MOST_NAMED, Reason, reasons_of, told
from tests.identity.rows_config import put
from tests.identity.rows_files import add_constant, move_pin
from tests.identity.world import World
from tests.identity.worlds import jsonl


def reasons(world: World) -> dict[str, Reason]:
    """Return the reasons of what a world's next plan makes."""
    plan = world.plan()
    with world.inside():
        found = reasons_of(plan, world.store(), ProjectCode(world.root).modules)
    assert set(found) == set(plan.missing)
    return found


def stated(world: World) -> dict[str, tuple[str, ...]]:
    """Return the reasons by stage, without what only follows from others."""
    return {id.split("/")[0]: one.words for id, one in reasons(world).items() if one.words}


@pytest.fixture
def local(worlds: dict[str, World], tmp_path: Path) -> World:
    return worlds["local"].copy(tmp_path / "world")


@dataclass(frozen=True)
class Change:
    """A change, the one stage that has a reason of its own, and what its words match."""

    name: str
    change: Callable[[World], None]
    stage: str
    words: str


def rows(world: World) -> None:
    world.write("data/orders/train.jsonl", jsonl({"prompt": "a", "completion": "another"}))


CHANGES = [
    Change(
        "rate",
        put("runs/gentle/training/learning_rate", 1e-4),
        "adapters",
        r"training\.learning_rate: 0\.0002 -> 0\.0001",
    ),
    Change("rank", put("runs/gentle/lora/r", 4), "adapters", r"lora\.r: 8 -> 4"),
    Change(
        "system", put("datasets/chats/system", "Be brief."), "chat", "system: null -> Be brief."
    ),
    Change("rows", rows, "raw", r"files\.train\.jsonl: other content"),
    Change("length", put("runs/chatty/training/max_length_tokens", 128), "adapters", "256 -> 128"),
    Change("shots", put("benchmarks/mmlu/shots", 0), "scores", "shots: 1 -> 0"),
    Change(
        "code", add_constant("scripts/lib/train/loop.py"), "adapters", r"code of train/loop\.py"
    ),
    Change("library", move_pin("pyarrow"), "chat", r"pyarrow: \S+ -> \S+"),
    Change("redo", put("redo", ["gentle"]), "adapters", "asked for by `redo`"),
    Change("title", put("report/title", "Another"), "reports", "title: What .* -> Another"),
    Change("subject", put("benchmarks/mmlu/subjects", ["sociology"]), "scores", "nothing like it"),
    Change(
        "model",
        lambda w: w.write("data/tiny/config.json", '{"model_type": "llama", "x": 1}'),
        "models",
        "other content",
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_is_named(local: World, change: Change) -> None:
    change.change(local)
    found = stated(local)
    assert any(re.search(change.words, word) for word in found[change.stage]), found


@pytest.mark.parametrize("name", ["rate", "rank", "system", "rows", "title", "model"])
def test_what_follows_from_a_change_has_no_reason_of_its_own(local: World, name: str) -> None:
    (change,) = (one for one in CHANGES if one.name == name)
    change.change(local)
    found = reasons(local)
    own = [one for one in found.values() if one.words]
    assert {one.id.split("/")[0] for one in own} == {change.stage}
    assert all(one.follows for one in found.values() if not one.words)


def test_two_changes_are_both_named(local: World) -> None:
    put("runs/gentle/training/learning_rate", 1e-4)(local)
    put("runs/gentle/training/seed", 7)(local)
    assert {word.split(":")[0] for word in stated(local)["adapters"]} == {
        "training.learning_rate",
        "training.seed",
    }


def test_a_run_is_compared_with_the_nearest_of_several(local: World) -> None:
    """`strong` differs from `gentle` in its rate; what is like `strong` is set beside that."""
    put("runs/strong/training/seed", 9)(local)
    (one,) = (r for r in reasons(local).values() if r.id.startswith("adapters/"))
    assert one.words == ("training.seed: 1 -> 9",)
    then = json.loads((local.results / f"{one.beside}.json").read_text())
    assert then["spec"]["training"]["learning_rate"] == 1.6e-3


def test_that_nothing_was_made_before_is_said_once(local: World) -> None:
    shutil.rmtree(local.results)
    found = reasons(local)
    assert {one.words for one in found.values()} == {("nothing like it was made before",)}
    assert told(found, most=99) == ["nothing of this was made before"]
    old = dict.fromkeys(found, Reason("reports/a", ("its code",), ()))
    (first, *others) = told({**old, **dict([*found.items()][:2])}, most=99)
    assert all(f"1 in {id.split('/')[0]}/" in first for id in [*found][:2]) and others


def test_removed_files_that_are_read_again_are_named(local: World) -> None:
    local.evict("shards:orders-tiny")
    put("runs/gentle/training/learning_rate", 1e-4)(local)
    found = stated(local)
    assert found["shards"] == ("its files are no longer there, and are needed",)


def test_a_colleagues_artifact_in_the_cache_is_compared_with(
    worlds: dict[str, World], tmp_path: Path
) -> None:
    clone = worlds["clone"].copy(tmp_path / "world", results=False)
    put("runs/gentle/training/learning_rate", 1e-4)(clone)
    assert stated(clone)["adapters"] == ("training.learning_rate: 0.0002 -> 0.0001",)


def test_many_changed_settings_and_modules_are_counted(local: World) -> None:
    for name, value in (("seed", 7), ("epochs", 9), ("batch_size", 2), ("weight_decay", 0.5)):
        put(f"runs/gentle/training/{name}", value)(local)
    put("runs/gentle/training/max_grad_norm", 2.0)(local)
    words = stated(local)["adapters"]
    assert len(words) == MOST_NAMED + 1 and words[-1] == "2 more settings"


def test_a_manifest_that_is_none_is_passed_over(local: World) -> None:
    for path in (local.results / "adapters").glob("*.json"):
        path.unlink()  # other worlds have it, too
        path.write_text("{")
    put("runs/gentle/training/learning_rate", 1e-4)(local)
    assert stated(local)["adapters"] == ("nothing like it was made before",)


def test_lines_name_each_reason_once_and_count_the_rest(local: World) -> None:
    put("runs/gentle/training/learning_rate", 1e-4)(local)
    put("runs/strong/training/learning_rate", 1e-3)(local)
    lines = told(reasons(local), most=1)
    assert (
        lines[0].startswith("adapters/")
        and "learning_rate" in lines[0]
        and "(compared with " in lines[0]
    )
    assert lines[1].startswith("and 1 more reason")
    assert "in scores/" in lines[-1] and lines[-1].startswith("what follows from these")


def test_what_a_comparison_sets_side_by_side_as_before_is_no_reason(local: World) -> None:
    put("report/noise_nats", {"float32": 0.1})(local)
    words = stated(local)["comparisons"]
    assert words and all(word.startswith("noise") for word in words), words


def test_a_file_of_other_bytes_is_not_told_by_its_hash(local: World) -> None:
    rows(local)
    (words,) = stated(local).values()
    assert not any(re.search("[0-9a-f]{16}", word) for word in words)

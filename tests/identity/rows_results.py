"""Changes of what was made, of where it lies, and of how it is made."""

import shutil
from collections.abc import Callable

from scripts.lib.artifacts.stages import STAGES
from tests.identity.rows_config import put
from tests.identity.table import END, RUNS, SHARDS, Row, scored, tuned
from tests.identity.world import World

HEAVY = ("models", "raw", "chat", "shards", "adapters", "merged")


def evict(*stages: str) -> Callable[[World], None]:
    """Return the change that removes folders and leaves their manifests."""

    def change(world: World) -> None:
        for stage in stages:
            for place in (world.results / stage).iterdir():
                if place.is_dir() and place.name != ".index":
                    shutil.rmtree(place)

    return change


def then(*changes: Callable[[World], object]) -> Callable[[World], None]:
    """Return the change that does *changes* one after the other."""

    def change(world: World) -> None:
        for one in changes:
            one(world)

    return change


def add_run(world: World) -> None:
    """Add a run on shards that are there."""
    gentle = world.config["runs"]["gentle"]
    world.config["runs"]["hasty"] = {**gentle, "lora": {**gentle["lora"], "r": 4}}


def _there_and_back(world: World) -> None:
    put("runs/gentle/training/seed", 5)(world)
    world.run()
    put("runs/gentle/training/seed", 1)(world)


def _budget(*settings: tuple[str, object]) -> Callable[[World], None]:
    """Return the change of one setting after the other, each but the last run to its report."""

    def change(world: World) -> None:
        for key, value in settings[:-1]:
            put(key, value)(world)
            world.run()
        put(*settings[-1])(world)

    return change


FIRST = ("report/budget", {"mmlu": {"average": -1.0}})


def _other_execution(world: World) -> None:
    """Make a run again with other threads and batches, as another profile would."""
    for stage in ("adapters", "scores"):
        for id in world.ids(f"{stage}:gentle" + ("/mmlu" if stage == "scores" else "")):
            shutil.rmtree(world.results / id)
            (world.results / f"{id}.json").unlink()
    put("report/title", "A title that asks for the facts")(world)
    invocation = world.invoke()
    world.run(invocation, stages=["adapters"], options=("--threads", "7", "--micro-batch", "3"))
    world.run(invocation, stages=["scores"], options=("--threads", "7", "--score-batch", "3"))
    world.run(invocation, stages=set(STAGES) - {"adapters", "scores"})
    assert world.manifest(world.id("adapters:gentle"))["execution"]["threads"] == 7
    del world.config["report"]


def _snakemake(world: World) -> None:
    (world.home / ".snakemake/metadata").mkdir(parents=True)
    shutil.rmtree(world.home / ".snakemake")
    for place in world.results.rglob("*"):
        place.touch()


def _delete_manifest(word: str) -> Callable[[World], None]:
    """Return the change that deletes the manifests behind *word*."""

    def change(world: World) -> None:
        for id in world.ids(word):
            (world.results / f"{id}.json").unlink()

    return change


def damage(word: str, *, same_size: bool, root: str = "home/results") -> Callable[[World], None]:
    """Return the change of the bytes of what is behind *word*, as a new file."""

    def change(world: World) -> None:
        for id in world.ids(word):
            stage, name = id.split("/")
            folder = world.base / root / stage / name
            folder = folder if (folder / "made.txt").exists() else folder / name
            text = (folder / "made.txt").read_text()
            (folder / "made.txt").unlink()
            (folder / "made.txt").write_text("?" * len(text) if same_size else text[:-1])

    return change


def _leave_cache(world: World) -> None:
    world.caches = ()


def _second_cache(world: World) -> None:
    """Put an empty cache of one's own before a colleague's, which is only read."""
    (world.base / "mine").mkdir()
    world.caches = ("mine", "cache")


def _only_files(world: World) -> None:
    """Remove the index: names alone must do."""
    for place in world.results.glob("*/.index"):
        shutil.rmtree(place)


def _foreign(world: World) -> None:
    """Leave things in the results that no plan made."""
    (world.results / "adapters/notes.txt").write_text("mine")
    (world.results / "adapters/.index/ffffffffffffffffffff").write_text("no-such-artifact\n")
    (world.results / f"{world.id('adapters:gentle')}.json").with_name("x.json").write_text("{")


def _move_checkout(world: World) -> None:
    """Work with another checkout of the project, and from another folder."""
    (world.base / "project").rename(world.base / "away")
    shutil.copytree(world.base / "away", world.base / "project")
    (world.base / "home").rename(world.base / "home2")
    shutil.copytree(world.base / "home2", world.base / "home")


NEW_RUN = tuned("hasty") | END
READ_BY_NEW_RUN = {"models:tiny", "shards:orders-tiny", "chat:orders", "raw:orders"} | NEW_RUN

RESULT_ROWS = [
    Row("shards are deleted", evict("shards"), frozenset()),
    Row(
        "shards are deleted and a run on them is added",
        then(evict("shards"), add_run),
        {"shards:orders-tiny"} | NEW_RUN,
    ),
    Row("adapters are evicted", evict("adapters"), frozenset()),
    Row("every heavy folder is evicted", evict(*HEAVY), frozenset()),
    Row(
        "every heavy folder is evicted and a run is added",
        then(evict(*HEAVY), add_run),
        frozenset(READ_BY_NEW_RUN),
    ),
    Row(
        "every heavy folder is evicted and a category map changed",
        then(evict(*HEAVY), put("benchmarks/mmlu/categories", "lm-eval")),
        frozenset(f"categories:{name}/mmlu" for name in ("tiny", *RUNS)) | END,
    ),
    Row(
        "adapters are evicted and another benchmark limit asks for a merged model",
        then(evict("adapters", "merged"), put("benchmarks/exact/limit", 1)),
        frozenset(f"{stage}:{run}" for run in RUNS for stage in ("adapters", "merged"))
        | scored("tiny", *RUNS, on=["exact"])
        | END,
    ),
    Row("Snakemake's own files come and go, all is touched", _snakemake, frozenset()),
    Row("a setting is changed, run, and changed back", _there_and_back, frozenset()),
    Row(
        "another margin of the budget",
        _budget(FIRST, ("report/budget", {"mmlu": {"average": -2.0}})),
        END | {"budgets"},
    ),
    Row(
        "what is undecided may pass",
        _budget(FIRST, ("report/on_undecided", "pass")),
        END | {"budgets"},
    ),
    Row("a budget is taken away", _budget(FIRST, ("report/budget", {})), frozenset()),
    Row("other threads and batches", _other_execution, frozenset()),
    Row("the manifest of an adapter is deleted", _delete_manifest("adapters:gentle"), frozenset()),
    Row(
        "the manifest of an adapter is deleted and the report needs it",
        then(_delete_manifest("adapters:gentle"), put("report/title", "Another")),
        frozenset({"adapters:gentle", "reports"}),
    ),
    Row("the report's manifest is deleted", _delete_manifest("reports"), frozenset({"reports"})),
    Row("the report's folder is deleted", evict("reports"), frozenset({"reports"})),
    Row(
        "categories are cut short and the comparison is to be made",
        then(damage("categories:tiny/exact", same_size=False), evict("comparisons", "reports")),
        frozenset({"categories:tiny/exact"}) | END,
    ),
    Row(
        "a score is cut short and the comparison is to be made",
        then(damage("scores:tiny/exact", same_size=False), evict("comparisons", "reports")),
        frozenset({"scores:tiny/exact"}) | END,
    ),
    Row("the index is deleted", _only_files, frozenset()),
    Row("things that no plan made lie about", _foreign, frozenset()),
    Row("another checkout, another folder", _move_checkout, frozenset()),
    Row("a shared cache is filled", lambda world: None, frozenset(), "shared"),
    Row("a shared cache is left", _leave_cache, frozenset(), "shared"),
    Row("a fresh clone with the shared cache", lambda world: None, END, "clone"),
    Row("a cache of one's own before a colleague's", _second_cache, END, "clone"),
    Row(
        "an entry of the cache is cut short",
        damage("categories:tiny/exact", same_size=False, root="cache"),
        frozenset({"categories:tiny/exact"}) | END,
        "clone",
    ),
    Row(
        "an entry of the cache is cut short that nobody reads",
        damage("shards:orders-tiny", same_size=False, root="cache"),
        END,
        "clone",
    ),
    Row(
        "scores and categories of a run are cut short in the cache, which has no merged model",
        then(
            damage("scores:gentle/exact", same_size=False, root="cache"),
            damage("categories:gentle/exact", same_size=False, root="cache"),
        ),
        frozenset({"merged:gentle"}) | scored("gentle", on=["exact"]) | END,
        "clone",
    ),
    Row("a run is asked for again", put("redo", "gentle"), tuned("gentle") | END),
    Row("a base model is asked for again", put("redo", "tiny"), scored("tiny") | END),
    Row("a stage is asked for again", put("redo", "shards"), SHARDS | tuned(*RUNS) | END),
    Row(
        "a run and a stage are asked for again",
        put("redo", ["reports", "gentle"]),
        tuned("gentle") | END,
    ),
]

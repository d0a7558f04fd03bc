"""Changes of what lm-eval's tasks are asked, of a user's own tasks and of their rows."""

from collections.abc import Callable
from typing import Any

from tests.identity.rows_config import drop, put
from tests.identity.rows_files import add_constant, move_pin
from tests.identity.table import END, Row, categories, scored
from tests.identity.world import World
from tests.identity.worlds import jsonl, make_local_world

NAMED, OWN = ("named",), ("own",)


def make_task_world(base: Any) -> World:
    """Make the world of lm-eval's tasks: one by its name, one of a user's own; one model."""
    world = make_local_world(base)
    world.config = {
        "models": world.config["models"],
        "benchmarks": {
            "named": {
                "kind": "lm_eval",
                "tasks": ["gsm8k"],
                "data": "data/rows",
                "revisions": {"acme/rows": "d" * 40},
            },
            "own": {"kind": "lm_eval", "path": "data/tasks/mine.yaml"},
        },
    }
    world.write("data/rows/acme/rows/default/test.jsonl", jsonl({"question": "1"}))
    world.write(
        "data/tasks/mine.yaml", "include: base.yaml\ntask: mine\ndoc_to_text: !function ours.text\n"
    )
    files = "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n"
    world.write("data/tasks/base.yaml", f"task: base\n{files}")
    world.write("data/tasks/ours.py", "from words import BEFORE\n")
    world.write("data/tasks/words.py", "BEFORE = 1\n")
    world.write("data/tasks/rows.jsonl", jsonl({"question": "1"}))
    world.write("data/tasks/unread.py", "X = 1\n")
    return world


def asked(on: tuple[str, ...]) -> frozenset[str]:
    """Return what follows when a benchmark is asked otherwise."""
    return scored("tiny", on=on) | END


def fetched(on: tuple[str, ...]) -> frozenset[str]:
    """Return what follows when a benchmark is fetched anew."""
    slugs = {"named": "benchmarks:gsm8k", "own": "benchmarks:mine"}
    return frozenset(slugs[name] for name in on) | asked(on)


def _text(name: str, text: str) -> Callable[[World], None]:
    """Return the change of a file's text."""

    def change(world: World) -> None:
        assert (world.home / name).read_text() != text
        world.write(name, text)

    return change


def _move(world: World) -> None:
    """Put a user's own tasks and the rows elsewhere, all as they were among themselves."""
    for name in ("tasks", "rows"):
        (world.home / "data" / name).rename(world.home / f"moved-{name}")
    world.config["benchmarks"]["own"]["path"] = "moved-tasks/mine.yaml"
    world.config["benchmarks"]["named"]["data"] = "moved-rows"


def _row(name: str, change: Callable[[World], object], missing: frozenset[str]) -> Row:
    return Row(name, change, missing, "tasks")


LM_EVAL_ROWS = [
    _row(
        "task's name",
        put("benchmarks/named/tasks", ["gsm8k_cot"]),
        asked(NAMED) | {"benchmarks:gsm8k-cot"},
    ),
    _row("task's metric", put("benchmarks/named/metric", "m"), categories("tiny", on=NAMED) | END),
    _row("task's shots", put("benchmarks/named/shots", 3), asked(NAMED)),
    _row("task's chat_template", put("benchmarks/named/chat_template", True), asked(NAMED)),
    _row("task's limit", put("benchmarks/named/limit", 3), asked(NAMED)),
    _row("task's dtype", put("benchmarks/named/dtype", "bfloat16"), asked(NAMED)),
    _row("task's backend", put("benchmarks/named/backend", "hf"), asked(NAMED)),
    _row(
        "task's revision",
        put("benchmarks/named/revisions", {"acme/rows": "e" * 40}),
        fetched(NAMED),
    ),
    _row(
        "task's revision of another repository",
        put("benchmarks/named/revisions", {"acme/rows": "d" * 40, "acme/more": "e" * 40}),
        fetched(NAMED),
    ),
    _row("run_generated_code", put("benchmarks/named/run_generated_code", True), frozenset()),
    _row(
        "rows in place of the hub",
        _text("data/rows/acme/rows/default/test.jsonl", "{}\n"),
        fetched(NAMED),
    ),
    _row(
        "own task", _text("data/tasks/mine.yaml", "include: base.yaml\ntask: mine\n"), fetched(OWN)
    ),
    _row("own task's include", _text("data/tasks/base.yaml", "task: base\n"), fetched(OWN)),
    _row("own task's function", _text("data/tasks/ours.py", "import words\n"), fetched(OWN)),
    _row("own task's sibling", _text("data/tasks/words.py", "BEFORE = 2\n"), fetched(OWN)),
    _row("task's rows come from the hub", drop("benchmarks/named/data"), fetched(NAMED)),
    _row("own task's rows", _text("data/tasks/rows.jsonl", "{}\n"), fetched(OWN)),
    _row("a module that no task reads", _text("data/tasks/unread.py", "X = 2\n"), frozenset()),
    _row(
        "an included task is asked too",
        put("benchmarks/own/path", ["data/tasks/mine.yaml", "data/tasks/base.yaml"]),
        asked(OWN) | {"benchmarks:mine-base"},
    ),
    _row("own tasks and rows move", _move, frozenset()),
    _row("lm-eval moves in the lock, with tasks", move_pin("lm-eval"), fetched((*NAMED, *OWN))),
    _row("sympy moves in the lock, with tasks", move_pin("sympy"), asked((*NAMED, *OWN))),
    _row(
        "code that finds tasks",
        add_constant("scripts/lib/benchmarks/lm_eval/resolve.py"),
        fetched((*NAMED, *OWN)),
    ),
    _row(
        "code that says which metric counts",
        add_constant("scripts/lib/benchmarks/lm_eval/scores.py"),
        categories("tiny", on=(*NAMED, *OWN)) | END,
    ),
]

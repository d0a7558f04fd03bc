"""Changes of a user's own multiple-choice questions and of how they are asked."""

from collections.abc import Callable

from tests.identity.rows_config import drop, put
from tests.identity.rows_files import add_constant
from tests.identity.table import END, Row, categories, scored
from tests.identity.world import World
from tests.identity.worlds import jsonl, question

ON = ("own",)
COUNTED = categories("tiny", on=ON) | END
ASKED = scored("tiny", on=ON) | END
FETCHED = frozenset({"benchmarks:test"}) | ASKED


def _other_rows(name: str) -> Callable[[World], None]:
    """Return the change of a file of questions."""
    rows = [question("another") | {"field": field} for field in ("laws", "arts")]
    return lambda world: world.write(f"data/own/{name}.jsonl", jsonl(*rows, *rows))


def _unsolved_category(world: World) -> None:
    """Take the category out of the solved questions: all are then shown the same."""
    world.write("data/own/solved.jsonl", jsonl(question("solved"), question("solved too")))


def _move(world: World) -> None:
    """Put the files elsewhere under names that say the same."""
    for key, name in (("path", "test"), ("shots_path", "solved")):
        world.write(f"moved/{name}.jsonl", (world.home / f"data/own/{name}.jsonl").read_text())
        world.config["benchmarks"]["own"][key] = f"moved/{name}.jsonl"


def _row(name: str, change: Callable[[World], object], missing: frozenset[str]) -> Row:
    return Row(name, change, missing, "choice")


CHOICE_ROWS = [
    _row("own questions change", _other_rows("test"), FETCHED),
    _row("solved questions change", _other_rows("solved"), FETCHED),
    _row("solved questions lose their category", _unsolved_category, FETCHED),
    _row("own questions move", _move, frozenset()),
    _row("own answers", put("benchmarks/own/answers", "index_from_0"), FETCHED),
    _row("own shots", put("benchmarks/own/shots", 2), FETCHED),
    _row("own category_column", put("benchmarks/own/category_column", "kind"), FETCHED),
    _row("own category_column is left out", drop("benchmarks/own/category_column"), FETCHED),
    _row("own chat_template", put("benchmarks/own/chat_template", True), ASKED),
    _row("own on_bad_row", put("benchmarks/own/on_bad_row", "error"), FETCHED),
    _row("own on_bad_row is left out", drop("benchmarks/own/on_bad_row"), FETCHED),
    _row("own limit", put("benchmarks/own/limit", 1), ASKED),
    _row("own on_long_prompt", put("benchmarks/own/on_long_prompt", "fewer_shots"), ASKED),
    _row("own dtype", put("benchmarks/own/dtype", "bfloat16"), ASKED),
    _row(
        "code that reads questions' rows and leaves bad ones out",
        add_constant("scripts/lib/benchmarks/multiple_choice/rows.py"),
        frozenset({"benchmarks:test"}) | ASKED,
    ),
    _row(
        "code that fetches MMLU's questions",
        add_constant("scripts/lib/benchmarks/mmlu/fetch.py"),
        frozenset(),
    ),
    _row(
        "code that checks files at planning",
        add_constant("scripts/lib/benchmarks/multiple_choice/plan.py"),
        frozenset(),
    ),
    _row(
        "code that remembers what was checked",
        add_constant("scripts/lib/plan/remembered.py"),
        frozenset(),
    ),
]

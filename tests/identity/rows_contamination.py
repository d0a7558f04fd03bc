"""Changes where a run leaves out rows that hold questions of a benchmark on another dataset."""

from collections.abc import Callable

from tests.identity.rows_config import put
from tests.identity.rows_files import add_constant, move_pin
from tests.identity.table import END, Row, rendered, scored, tuned
from tests.identity.world import World
from tests.identity.worlds import jsonl

ON = ("spare",)
SEARCH = "contamination:orders-chats-test"
"""In all rows of the dataset, and in those that are left."""
TUNED = frozenset(
    word for word in tuned("gentle") if not word.startswith(("scores", "categories"))
) | scored("gentle", on=ON)
LEFT = {"decontaminated:orders", SEARCH} | rendered("orders-tiny") | TUNED | END
OTHER_ROW = jsonl({"prompt": "e", "completion": "f"})


def _row(name: str, change: Callable[[World], object], missing: frozenset[str] | set[str]) -> Row:
    return Row(name, change, frozenset(missing), "left_out")


CONTAMINATION_ROWS = [
    _row(
        "another split is looked for",
        put("benchmarks/spare/split", "valid"),
        {*LEFT - {SEARCH}, "contamination:orders-chats-valid"} | scored("tiny", on=ON),
    ),
    _row("looked for by other n-grams", put("contamination", {"ngram": 13}), LEFT),
    _row(
        "rows that may hold questions",
        lambda world: world.write("data/orders/train.jsonl", OTHER_ROW),
        {"raw:orders", "chat:orders"} | LEFT,
    ),
    _row(
        "nothing is left out any more",
        put("runs/gentle/on_contamination", "report"),
        rendered("orders-tiny") | TUNED | END,
    ),
    _row("code that leaves rows out", add_constant("scripts/drop_contaminated.py"), LEFT),
    _row("code that finds questions", add_constant("scripts/find_contamination.py"), LEFT),
    _row(
        "code that says what held-out questions are",
        add_constant("scripts/lib/benchmarks/held_out/texts.py"),
        LEFT,
    ),
    _row(
        "code that says what MMLU's questions are",
        add_constant("scripts/lib/benchmarks/mmlu/texts.py"),
        frozenset(),
    ),
    _row(
        "pyarrow moves in the lock, with rows left out",
        move_pin("pyarrow"),
        {"chat:orders", "chat:chats"} | LEFT | scored("tiny", on=ON),
    ),
]

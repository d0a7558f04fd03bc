"""Changes of a benchmark on held-out conversations: of its dataset and of how it is asked."""

from collections.abc import Callable

from tests.identity.rows_config import put
from tests.identity.rows_files import add_constant
from tests.identity.table import END, Row, categories, rendered, scored
from tests.identity.world import World
from tests.identity.worlds import jsonl

# What asks the dataset `orders`, and what asks another one.
ORDERS, SPARE = ("domain", "seen"), ("spare",)
DOMAIN = scored("tiny", on=("domain",)) | END
CHAT = frozenset({"chat:orders"}) | scored("tiny", on=ORDERS) | END


def _other_rows(name: str) -> Callable[[World], None]:
    """Return the change of one file of the dataset."""
    rows = jsonl({"prompt": "another", "completion": "one"})
    return lambda world: world.write(f"data/orders/{name}.jsonl", rows)


def _rename_dataset(world: World) -> None:
    datasets, benchmarks = world.config["datasets"], world.config["benchmarks"]
    datasets["tickets"] = datasets.pop("orders")
    for label in ORDERS:
        benchmarks[label]["dataset"] = "tickets"


def _rename_benchmark(world: World) -> None:
    names = {"domain": "cafe"}
    entries = world.config["benchmarks"].items()
    world.config["benchmarks"] = {names.get(name, name): entry for name, entry in entries}


def _reverse(world: World) -> None:
    world.config["benchmarks"] = dict(reversed(world.config["benchmarks"].items()))


def _tune(world: World) -> None:
    """Add a run on the dataset: what is asked of the base stays."""
    world.config["runs"] = {"gentle": {"model": "tiny", "dataset": "orders"}}


TUNED = scored("gentle", on=(*ORDERS, *SPARE))
TUNED |= {f"{stage}:gentle" for stage in ("adapters", "merged", "proofs")}


def _row(name: str, change: Callable[[World], object], missing: frozenset[str]) -> Row:
    return Row(name, change, missing, "held_out")


HELD_OUT_ROWS = [
    _row("held-out rows change", _other_rows("test"), frozenset({"raw:orders"}) | CHAT),
    _row("held-out dataset's system", put("datasets/orders/system", "Be brief."), CHAT),
    _row(
        "held-out dataset's max_dropped_fraction",
        put("datasets/orders/max_dropped_fraction", 0.5),
        frozenset(),
    ),
    _row("held-out dataset is renamed", _rename_dataset, frozenset()),
    _row("another dataset is held out", put("benchmarks/domain/dataset", "chats"), DOMAIN),
    _row("another split is held out", put("benchmarks/domain/split", "valid"), DOMAIN),
    _row("held-out max_new_tokens", put("benchmarks/domain/max_new_tokens", 8), DOMAIN),
    _row("held-out on_long_prompt", put("benchmarks/domain/on_long_prompt", "leave_out"), DOMAIN),
    _row("held-out limit", put("benchmarks/domain/limit", 1), DOMAIN),
    _row("held-out dtype", put("benchmarks/domain/dtype", "bfloat16"), DOMAIN),
    _row(
        "held-out template of the base",
        put("models/tiny/template", "chatml"),
        scored("tiny", on=(*ORDERS, *SPARE)) | END,
    ),
    _row(
        "held-out benchmark is renamed",
        _rename_benchmark,
        categories("tiny", on=("cafe",)) | END,
    ),
    _row("held-out benchmarks in another order", _reverse, END),
    _row(
        # What the dataset itself holds out is no training row; what another one does may be.
        "a run on the held-out dataset",
        _tune,
        TUNED | rendered("orders-tiny") | {"contamination:orders-chats-test"} | END,
    ),
    _row(
        "code that judges adherence",
        add_constant("scripts/lib/benchmarks/held_out/adherence.py"),
        categories("tiny", on=(*ORDERS, *SPARE)) | END,
    ),
    _row(
        "code that asks held-out conversations",
        add_constant("scripts/lib/benchmarks/held_out/questions.py"),
        scored("tiny", on=(*ORDERS, *SPARE)) | END,
    ),
    _row(
        "code that asks other benchmarks",
        add_constant("scripts/lib/benchmarks/mmlu/questions.py"),
        frozenset(),
    ),
    _row(
        "code that compares held-out losses",
        add_constant("scripts/lib/benchmarks/held_out/comparison.py"),
        END,
    ),
]

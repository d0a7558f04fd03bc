"""Changes of a run on several datasets."""

from tests.identity.rows_config import drop, put, rename
from tests.identity.rows_files import add_constant
from tests.identity.table import END, Row, merged, rendered, scored, searched, tuned
from tests.identity.world import World
from tests.identity.worlds import jsonl

ON = ("mmlu",)


def _on_mmlu(words: frozenset[str] | set[str]) -> frozenset[str]:
    """Leave out the second benchmark, which this world has not."""
    return frozenset(word for word in words if not word.endswith("/exact"))


TUNE = _on_mmlu(tuned("gentle")) | END
SHARDS = rendered("orders-tiny", "chats-tiny")


def _row(name: str, change, missing: set[str] | frozenset[str]) -> Row:
    return Row(f"mixture: {name}", change, frozenset(missing), "mixture")


def _turn(world: World) -> None:
    run = world.config["runs"]["gentle"]
    run["dataset"] = dict(reversed(run["dataset"].items()))


def _scale(world: World) -> None:
    world.config["runs"]["gentle"]["dataset"] = {
        "orders": 8,
        "chats": {"weight": 2, "max_rows": 6},
    }


def _rename(world: World) -> None:
    rename("datasets", "chats", "talk")(world)
    dataset = world.config["runs"]["gentle"]["dataset"]
    dataset["talk"] = dataset.pop("chats")


def _more_rows(world: World) -> None:
    rows = ({"prompt": f"hello {n}", "completion": "hi"} for n in range(9))
    world.write("data/chats.jsonl", jsonl(*rows))


def _third(world: World) -> None:
    world.write("data/third.jsonl", jsonl({"prompt": "say", "completion": "so"}))
    put("datasets/third", {"path": "data/third.jsonl", "valid_fraction": 0})(world)
    put("runs/gentle/dataset/third", 1)(world)


def _measure_chats(world: World) -> None:
    put("datasets/chats/valid_fraction", 0.5)(world)
    put("runs/gentle/evaluate_on", {"talk": "chats"})(world)


CHATS = rendered("chats-tiny") | {"chat:chats"} | searched("chats", on=ON)

MIXTURE_ROWS = [
    _row("a weight", put("runs/gentle/dataset/orders", 5), TUNE),
    _row("a cap", put("runs/gentle/dataset/chats/max_rows", 5), TUNE),
    _row("a repeat", put("runs/gentle/dataset/chats/repeat", 2), TUNE),
    _row("weights of the same shares", _scale, frozenset()),
    _row("datasets in another order", _turn, frozenset()),
    _row("a repeat of 1 is written", put("runs/gentle/dataset/chats/repeat", 1), frozenset()),
    # The page names what each dataset gave.
    _row("a dataset is renamed", _rename, {"reports"}),
    _row("one dataset only", put("runs/gentle/dataset", "orders"), TUNE),
    _row(
        "one more dataset",
        _third,
        {"raw:third", "chat:third"} | searched("third", on=ON) | rendered("third-tiny") | TUNE,
    ),
    _row(
        "without the questions of benchmarks",
        put("runs/gentle/on_contamination", "drop"),
        {"decontaminated:orders", "decontaminated:chats"}
        | searched("orders", "chats", on=ON)
        | SHARDS
        | TUNE,
    ),
    _row("a row more of one", _more_rows, {"raw:chats"} | CHATS | TUNE),
    _row("formatted otherwise", put("datasets/chats/system", "Be brief."), CHATS | TUNE),
    _row("ledgers may drop more", put("datasets/chats/max_dropped_fraction", 0.5), frozenset()),
    _row("measured on one of them", _measure_chats, CHATS | TUNE),
    _row(
        "a longer row",
        put("runs/gentle/training/max_length_tokens", 128),
        SHARDS | TUNE,
    ),
    _row(
        "code of the choice",
        add_constant("scripts/lib/train/mixture.py"),
        TUNE,
    ),
    _row(
        "code of merging",
        add_constant("scripts/lib/merge/merging.py"),
        _on_mmlu(merged("gentle")) | END,
    ),
    _row("the run is removed", drop("runs/gentle"), END),
    _row(
        "a benchmark is asked otherwise",
        put("benchmarks/mmlu/limit", 1),
        scored("tiny", "gentle", on=ON) | END,
    ),
]

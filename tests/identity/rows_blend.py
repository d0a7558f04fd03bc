"""Changes of unmerged runs and of combinations."""

from tests.identity.rows_config import drop, put, rename
from tests.identity.rows_files import add_constant, move_pin
from tests.identity.table import END, Row, merged, rendered, scored, tuned
from tests.identity.world import World

ON = ("mmlu",)
BLEND = {"combined:blend", "merged:blend", "proofs:blend"} | scored("blend", on=ON) | END
AWAY = {"combined:away"} | scored("away", on=ON) | END


def _on_mmlu(words: frozenset[str] | set[str]) -> frozenset[str]:
    """Leave out the second benchmark, which this world has not."""
    return frozenset(word for word in words if not word.endswith("/exact"))


def _combination(name: str, key: str, value: object, missing: set[str] | frozenset[str]) -> Row:
    row = f"{key} of {name} becomes {value}"
    return Row(row, put(f"candidates/{name}/{key}", value), frozenset(missing), "blend")


def _in_other_order(world: World) -> None:
    for entry in world.config["candidates"].values():
        entry["combine"] = dict(reversed(entry["combine"].items()))


def _swap_weights(world: World) -> None:
    weights = world.config["candidates"]["blend"]["combine"]
    weights["north"], weights["south"] = weights["south"], weights["north"]


def _rename_run(world: World) -> None:
    rename("runs", "north", "pole")(world)
    for entry in world.config["candidates"].values():
        entry["combine"] = {("pole" if n == "north" else n): w for n, w in entry["combine"].items()}


def _say_defaults(world: World) -> None:
    """Write out what the schema says anyway, and what the method has no use for."""
    world.config["candidates"]["blend"] |= {"seed": 42, "majority_sign": "total", "rank": None}
    world.config["candidates"]["away"] |= {"seed": 7, "majority_sign": "frequency"}


def _add_cat(world: World) -> None:
    world.config["candidates"]["sum"] = {"combine": {"north": 0.5, "south": 0.5}}


def _other_members(world: World) -> None:
    world.config["candidates"]["blend"]["combine"] = {"north": 0.7, "quick": 0.3}


def _other_weights(world: World) -> None:
    world.write("data/tiny/model.safetensors", "x" * 64)


NORTH = _on_mmlu(tuned("north")) | BLEND | AWAY
QUICK = {"adapters:quick"} | scored("quick", on=ON) | AWAY
EVERY_ADAPTER = NORTH | _on_mmlu(tuned("south")) | QUICK

EVERYTHING = {"models:tiny"} | rendered("orders-tiny") | EVERY_ADAPTER | scored("tiny", on=ON)

BLEND_ROWS = [
    _combination("blend", "combine/north", 0.6, BLEND),
    _combination("blend", "method", "ties_svd", BLEND),
    _combination("blend", "density", 0.25, BLEND),
    _combination("blend", "rank", 4, BLEND),
    _combination("blend", "majority_sign", "frequency", BLEND),
    _combination("blend", "seed", 1, BLEND),
    _combination("away", "method", "cat", AWAY),
    _combination("away", "combine/quick", 0.5, AWAY),
    _combination("blend", "keep_merged", False, frozenset()),
    _combination("blend", "merge", False, scored("blend", on=ON) | END),
    _combination(
        "away", "merge", True, {"merged:away", "proofs:away"} | scored("away", on=ON) | END
    ),
    Row("weights are swapped", _swap_weights, BLEND, "blend"),
    Row("runs of a combination in another order", _in_other_order, frozenset(), "blend"),
    Row("a combination says its defaults", _say_defaults, frozenset(), "blend"),
    Row("a combination is renamed", rename("candidates", "blend", "mix"), END, "blend"),
    Row("a combined run is renamed", _rename_run, END, "blend"),
    Row("a combination is removed", drop("candidates/blend"), END, "blend"),
    Row(
        "a combination is added",
        _add_cat,
        frozenset(
            {"combined:sum", "merged:sum", "proofs:sum"} | scored("sum", on=ON) | END,
        ),
        "blend",
    ),
    Row("a combination of other runs", _other_members, BLEND, "blend"),
    Row("the weights under combinations", _other_weights, EVERYTHING, "blend"),
    Row(
        "a combined run learns otherwise",
        put("runs/north/training/learning_rate", 1e-3),
        NORTH,
        "blend",
    ),
    Row(
        "an unmerged run learns otherwise",
        put("runs/quick/training/learning_rate", 1e-3),
        QUICK,
        "blend",
    ),
    Row(
        "an unmerged run is merged",
        put("runs/quick/merge", True),
        _on_mmlu(merged("quick")) | END,
        "blend",
    ),
    Row("an unmerged run's on_verdict", put("runs/quick/on_verdict", "stop"), frozenset(), "blend"),
    Row(
        "code of combine_adapters",
        add_constant("scripts/combine_adapters.py"),
        BLEND | AWAY,
        "blend",
    ),
    Row("peft moves under combinations", move_pin("peft"), EVERY_ADAPTER, "blend"),
    Row("a combination is asked for again", put("redo", "blend"), BLEND, "blend"),
]

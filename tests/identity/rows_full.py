"""Changes of a run that trains all weights."""

from tests.identity.rows_config import TRAINING, drop, patience, put
from tests.identity.rows_files import add_constant, move_pin
from tests.identity.rows_results import evict, then
from tests.identity.table import END, Row, merged, rendered, scored, tuned
from tests.identity.world import World

ON = ("mmlu",)
SCORED = scored("whole", on=ON) | END
WHOLE = {"trained:whole"} | SCORED
GENTLE = frozenset(word for word in tuned("gentle") if not word.endswith("/exact"))
MERGED = frozenset(word for word in merged("gentle") if not word.endswith("/exact"))
SHARDS = rendered("orders-tiny")


def _row(name: str, change, missing: set[str] | frozenset[str]) -> Row:
    return Row(f"whole: {name}", change, frozenset(missing), "full")


def _other_weights(world: World) -> None:
    world.write("data/tiny/model.safetensors", "x" * 64)


def _other_rows(world: World) -> None:
    world.write("data/orders/train.jsonl", '{"prompt": "a", "completion": "other"}\n')


def _an_adapter(world: World) -> None:
    """Make the run an adapter of the shape that the other run has."""
    world.config["runs"]["whole"]["lora"] = world.config["runs"]["gentle"]["lora"]


def _measure_chats(world: World) -> None:
    """Measure the run on rows that another dataset holds out."""
    put("datasets/chats", {"path": "data/chats.jsonl", "valid_fraction": 0.5})(world)
    put("runs/whole/evaluate_on", {"talk": "chats"})(world)


def _best_by_chats(world: World) -> None:
    """Keep the weights that are the best on them."""
    _measure_chats(world)
    put("runs/whole/training/keep", "best")(world)
    put("runs/whole/training/best_by", "talk")(world)


MEASURED = {"raw:chats", "chat:chats", "shards:chats-tiny"} | WHOLE

FULL_ROWS = [
    *(
        _row(f"training.{key}", put(f"runs/whole/training/{key}", value), WHOLE)
        for key, value in TRAINING.items()
        if not key.startswith("loraplus")  # which is refused
    ),
    _row(
        "training.max_length_tokens",
        put("runs/whole/training/max_length_tokens", 128),
        SHARDS | WHOLE,
    ),
    _row(
        "the default rate is written", put("runs/whole/training/learning_rate", 2e-5), frozenset()
    ),
    _row(
        "what is kept by default is written", put("runs/whole/training/keep", "last"), frozenset()
    ),
    _row("patience that keeps the last weights", patience("whole"), WHOLE),
    _row("training.keep", put("runs/whole/training/keep", "best"), WHOLE),
    _row("evaluate_on", _measure_chats, MEASURED),
    _row("training.best_by", _best_by_chats, MEASURED),
    _row("on_verdict", put("runs/whole/on_verdict", "stop"), frozenset()),
    _row("publish", put("runs/whole/publish", {"repo_id": "me/whole"}), frozenset()),
    _row("the other run's adapter", put("runs/gentle/lora/r", 4), GENTLE | END),
    # With the default rate of an adapter it is the other run.
    _row("becomes an adapter", _an_adapter, END),
    _row("is removed", drop("runs/whole"), END),
    _row("is asked for again", put("redo", "whole"), WHOLE),
    _row(
        "other weights",
        _other_weights,
        {"models:tiny"} | SHARDS | GENTLE | WHOLE | scored("tiny", on=ON),
    ),
    _row(
        "other rows",
        _other_rows,
        {"raw:orders", "chat:orders", "contamination:orders-mmlu"} | SHARDS | GENTLE | WHOLE,
    ),
    _row("code of train_model", add_constant("scripts/train_model.py"), WHOLE),
    _row("code of full_tuning", add_constant("scripts/lib/train/full_tuning.py"), WHOLE),
    _row("code of the flow", add_constant("scripts/lib/train/training.py"), GENTLE | WHOLE),
    *(
        _row(f"code of adapters: {file}", add_constant(f"scripts/lib/{file}"), GENTLE | END)
        for file in (
            "adapters/lora.py",
            "adapters/modules.py",
            "train/lora_config.py",
            "train/lora_faults.py",
            "train/lora_tuning.py",
            "train/spec.py",
        )
    ),
    _row("code of merging", add_constant("scripts/lib/merge/merging.py"), MERGED | END),
    _row("trl moves", move_pin("trl"), GENTLE | WHOLE),
]

FULL_RESULT_ROWS = [
    _row("the model is evicted", evict("trained"), frozenset()),
    _row(
        "the model is evicted and asked otherwise",
        then(evict("trained"), put("benchmarks/mmlu/limit", 1)),
        {"trained:whole"} | scored("tiny", "gentle", "whole", on=ON) | END,
    ),
]

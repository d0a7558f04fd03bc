"""What is made again when something changes about models and adapters that exist already."""

import json
import struct

import pytest

from tests.identity.rows_config import put, rename
from tests.identity.table import END, Row, failures, scored
from tests.identity.world import World
from tests.identity.worlds import make_local_world

ON = ("mmlu",)
LAYER = "model.layers.0.mlp.up_proj"


def stored(fill: bytes, **shapes: tuple[int, ...]) -> bytes:
    """Return a safetensors file of float32 tensors, each byte of which is *fill*."""
    header, place = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        offsets = [place, place + size]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        place += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + fill * place


def model_weights(fill: bytes) -> bytes:
    return stored(fill, **{f"{LAYER}.weight": (6, 4)})


def adapter_weights(fill: bytes) -> bytes:
    name = f"base_model.model.{LAYER}"
    return stored(fill, **{f"{name}.lora_A.weight": (2, 4), f"{name}.lora_B.weight": (6, 2)})


def replace(world: World, name: str, content: bytes) -> None:
    """Write a file anew; the old one may be shared with other worlds."""
    place = world.home / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_bytes(content)


@pytest.fixture(scope="module")
def existing(tmp_path_factory) -> dict[str, World]:
    """A run world with a checkpoint, an adapter, and a run that goes on from that."""
    world = make_local_world(tmp_path_factory.mktemp("existing") / "world")
    world.config["runs"] = {
        "further": {"model": "tiny", "dataset": "orders", "continue_from": "theirs"}
    }
    world.config["candidates"] = {
        "mine": {"model": "data/sft", "base": "tiny"},
        "theirs": {"adapter": "data/adapter", "base": "tiny"},
    }
    del world.config["datasets"]["chats"], world.config["benchmarks"]["exact"]
    world.config["benchmarks"]["mmlu"]["chat_template"] = True
    replace(world, "data/tiny/model.safetensors", model_weights(b"\0"))
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        world.write(f"data/sft/{name}", (world.home / "data/tiny" / name).read_text())
    replace(world, "data/sft/model.safetensors", model_weights(b"\1"))
    replace(world, "data/adapter/adapter_model.safetensors", adapter_weights(b"\0"))
    world.write("data/adapter/adapter_config.json", '{"peft_type": "LORA", "r": 2}')
    world.run()
    return {"existing": world}


def made_from(name: str, *stages: str) -> frozenset[str]:
    return frozenset(f"{stage}:{name}" for stage in stages) | scored(name, on=ON)


FURTHER = made_from("further", "adapters", "merged", "proofs")
THEIRS = made_from("theirs", "given_adapters", "merged", "proofs") | FURTHER
THEIRS |= END | {"given_adapters:further"}
MINE = made_from("mine", "changes") | {"models:sft"} | END

ROWS = [
    Row(
        "the checkpoint's weights",
        lambda world: replace(world, "data/sft/model.safetensors", model_weights(b"\2")),
        MINE,
    ),
    Row(
        "the checkpoint's template",
        put("candidates/mine/template", "chatml"),
        scored("mine", on=ON) | END,
    ),
    Row("the checkpoint's name", rename("candidates", "mine", "sft"), END),
    Row(
        "the checkpoint by a mapping",
        put("candidates/mine/model", {"path": "data/sft"}),
        frozenset(),
    ),
    Row(
        "the adapter's weights",
        lambda world: replace(
            world, "data/adapter/adapter_model.safetensors", adapter_weights(b"\1")
        ),
        THEIRS,
    ),
    Row(
        "the adapter's config",
        lambda world: world.write(
            "data/adapter/adapter_config.json", '{"peft_type": "LORA", "r": 2, "lora_alpha": 1}'
        ),
        THEIRS,
    ),
    Row(
        "a tokenizer beside the adapter",
        lambda world: world.write("data/adapter/tokenizer.json", '{"version": "2"}'),
        THEIRS,
    ),
    Row(
        "logs beside the adapter",
        lambda world: world.write("data/adapter/trainer_state.json", "{}"),
        frozenset(),
    ),
    Row("the adapter's template", put("candidates/theirs/template", "chatml"), THEIRS),
    Row(
        "the adapter is not merged",
        put("candidates/theirs/merge", False),
        scored("theirs", on=ON) | END,
    ),
    Row(
        "the adapter's merged model goes", put("candidates/theirs/keep_merged", False), frozenset()
    ),
    Row("the dropout of what goes on", put("runs/further/lora", {"dropout": 0.2}), FURTHER | END),
    Row("what goes on says the adapter's rank", put("runs/further/lora", {"r": 2}), frozenset()),
    Row("the adapter is asked for again", put("redo", "theirs"), THEIRS),
    Row("the checkpoint is asked for again", put("redo", "mine"), scored("mine", on=ON) | END),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_exactly_what_follows_from_a_change_is_made(row: Row, existing, tmp_path):
    moved = Row(row.name, row.change, row.missing, "existing")
    assert failures([moved], existing, tmp_path) == []


def test_another_base_of_other_shapes_is_refused_before_any_job(existing, tmp_path):
    from scripts.lib.errors import ConfigError

    world = existing["existing"].copy(tmp_path / "other")
    other = stored(b"\0", **{f"{LAYER}.weight": (8, 4)})
    replace(world, "data/tiny/model.safetensors", other)
    with pytest.raises(
        ConfigError, match=r"candidates\.theirs: .*up_proj is \(8, 4\) in .*fits \(6, 4\)"
    ):
        world.missing()

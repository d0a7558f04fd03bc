"""How large a base model is, and an adapter on it, from the headers of its files alone."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.model_files import quantisation_of

EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
OUTPUTS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A base, as its files tell.

    Attributes:
        parameters: All of them; tied ones once.
        linear: Linear layers without the output layer -> (out, in).
        embedded: Parameters of embeddings, output layer, norms and biases.
        config: Its config.json, of the text model.
    """

    parameters: int
    linear: Mapping[str, tuple[int, int]]
    embedded: int
    config: Mapping[str, Any]


def lora_parameters(lora: Mapping[str, Any], size: ModelSize) -> int:
    """Return the parameters of an adapter on the linear layers of a base: r x (in + out) of each.

    Args:
        lora: Its shape, as a run's spec holds it.
        size: The base.
    """
    wanted = lora["target_modules"]
    extra = 1 if lora["use_dora"] else 0  # a magnitude for each output
    return sum(
        lora["r"] * (inner + outer) + extra * outer
        for name, (outer, inner) in size.linear.items()
        if wanted == "all-linear" or any(f".{name}".endswith(f".{one}") for one in wanted)
    )


@cache
def size_of(paths: tuple[str, ...]) -> ModelSize | None:
    """Return the size of the model that some files make up; None where they do not tell."""
    by_name = {Path(path).name: Path(path) for path in paths}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, path in by_name.items():
        if name.endswith(".safetensors"):
            shapes |= tensor_shapes(path)
    if not shapes or "config.json" not in by_name:
        return None
    config = files.read_json(by_name["config.json"])
    if quantisation_of(config):
        return None
    linear = {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight")
        and len(shape) == 2
        and name.split(".")[-2] not in (*EMBEDDINGS, *OUTPUTS)
    }
    parameters = sum(map(math.prod, shapes.values()))
    inside = sum(outer * inner for outer, inner in linear.values())
    return ModelSize(
        parameters=parameters,
        linear=linear,
        embedded=parameters - inside,
        config=config.get("text_config", config),
    )


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return tensor -> shape from the header of a safetensors file; nothing of a damaged one."""
    try:
        with file.open("rb") as stream:
            header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        return {
            name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"
        }
    except (OSError, ValueError, struct.error, KeyError, AttributeError):
        return {}

"""How large a base model is, and an adapter on it, from the headers of its files alone."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scripts.lib import files
from scripts.lib.adapters.modules import Modules, fits_pattern, reached, reached_parameters
from scripts.lib.model_files import quantisation_of

EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
ROUTERS = ("gate", "router")
# Files of a mixture that hold experts one by one -> the parameter that they are in memory.
FUSED = {
    **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3"), "gate_up_proj"),
    **dict.fromkeys(("down_proj", "w2"), "down_proj"),
}
FUSED_DIMENSIONS = 3  # experts, and two of each
OUTPUTS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A base, as its files tell.

    Attributes:
        tensors: Tensor -> its shape; tied ones stand once.
        config: Its config.json, of the text model.
    """

    tensors: Mapping[str, tuple[int, ...]]
    config: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(map(math.prod, self.tensors.values()))

    @property
    def embedded(self) -> int:
        """Those of embeddings, output layer, norms and biases."""
        linear = self.layers(inner=True).values()
        return self.parameters - sum(outer * inner for outer, inner in linear)

    def layers(self, *, inner: bool) -> dict[str, tuple[int, int]]:
        """Return the shapes of linear layers inside the model, or of embeddings and output layer.

        Experts of a mixture are none, in memory they are fused and no module's name reaches them;
        nor is what chooses among them.
        """
        mixture = any(".experts." in name for name in self.tensors)
        found = {
            name.removesuffix(".weight"): (shape[0], shape[1])
            for name, shape in self.tensors.items()
            if name.endswith(".weight") and len(shape) == 2 and ".experts." not in name
            if not mixture or name.rpartition(".")[0].rpartition(".")[2] not in ROUTERS
        }
        return {
            name: shape
            for name, shape in found.items()
            if (name.rpartition(".")[2] not in (*EMBEDDINGS, *OUTPUTS)) == inner
        }


def lora_parameters(lora: Mapping[str, Any], size: ModelSize) -> int:
    """Return the parameters that an adapter trains: r x (in + out) of each layer that it reaches.

    Of DoRA a magnitude for each output, and whole modules and experts, come on top. Biases and the
    rows of new tokens are not counted.

    Args:
        lora: Its shape, as a run's spec holds it.
        size: The base.
    """
    shape, layers = SimpleNamespace(**lora), size.layers(inner=True)
    others = size.layers(inner=False)
    count = 0
    for name in reached(shape, Modules(linear=list(layers), others=others)):
        outer, inner = (layers | others)[name]
        ranks = [rank for at, rank in lora["rank_pattern"].items() if fits_pattern(at, name)]
        count += (ranks[0] if ranks else lora["r"]) * (inner + outer)
        count += outer if lora["use_dora"] else 0
    for saved in lora["modules_to_save"] or ():
        whole = [
            math.prod(one)
            for name, one in size.tensors.items()
            if f".{name.rpartition('.')[0]}.".find(f".{saved}.") >= 0
        ]
        tied = [outer * inner for outer, inner in others.values()] if saved in OUTPUTS else []
        count += sum(whole) or sum(tied[:1])
    return count + _on_experts(shape, size)


def _on_experts(shape: Any, size: ModelSize) -> int:
    """Return the parameters that an adapter puts on a mixture's experts: r x (in + out) of each.

    In memory they are fused, gate and up as one; files hold them so, or one by one.
    """
    wanted: dict[tuple[str, str], tuple[int, int]] = {}
    for tensor, sizes in size.tensors.items():
        above, mark, own = tensor.partition(".experts.")
        number, _, projection = own.removesuffix(".weight").rpartition(".")
        if not mark or len(sizes) not in (2, 3) or own.endswith("_bias"):
            continue
        name = f"{above}.experts.{FUSED.get(projection, projection)}"
        experts = sizes[0] if len(sizes) == FUSED_DIMENSIONS else 1
        outputs = wanted.get((name, number), (0, 0))[1]
        wanted[name, number] = experts * sizes[-1], outputs + experts * sizes[-2]
    names = list(dict.fromkeys(name for name, _ in wanted))
    reach = set(reached_parameters(shape, Modules(linear=[], parameters=names, experts=names)))
    count = 0
    for (name, _), sums in wanted.items():
        ranks = [rank for at, rank in shape.rank_pattern.items() if fits_pattern(at, name)]
        count += (ranks[0] if ranks else shape.r) * sum(sums) if name in reach else 0
    return count


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
    return ModelSize(tensors=shapes, config=config.get("text_config", config))


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

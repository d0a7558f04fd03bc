"""How large a base model is, from the headers of its files alone."""

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.model_files import quantisation_of

EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
ROUTERS = ("gate", "router")
OUTPUTS = ("lm_head", "embed_out", "output")
LEAST_HEAD = 64
KEEPING_SCORES = ("gpt_oss",)  # its scores have sinks
_LAYER = re.compile(r"\.(\d+)\.")
_NORM = re.compile(r"norm|\bln_")


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


@dataclass(frozen=True, kw_only=True)
class Widths:
    """What of a base the memory of its activations follows from: numbers kept of each token.

    Attributes:
        hidden: Width of the model.
        queries: Of all heads.
        heads: Their number.
        inner: Width of a gated MLP; of a mixture that of all experts that a token meets.
        norms: What the norms of a layer read, added up.
        layers: Their number.
        vocabulary: Rows of the output layer.
        keeps_scores: Whether attention keeps all of its scores, since no kernel knows it.
    """

    hidden: int
    queries: int
    heads: int
    inner: int
    norms: int
    layers: int
    vocabulary: int
    keeps_scores: bool = False


def widths_of(size: ModelSize) -> Widths | None:
    """Return the widths of a base; None where its config does not tell them."""
    config = size.config

    def number(*names: str) -> int:
        found = next((config[name] for name in names if config.get(name)), 0)
        return int(max(found) if isinstance(found, list) else found)

    hidden = number("hidden_size", "n_embd", "d_model")
    # Where a config does not say, as small as they are made.
    heads = number("num_attention_heads", "n_head", "num_heads") or max(1, hidden // LEAST_HEAD)
    layers = number("num_hidden_layers", "n_layer", "num_layers")
    rows = [outer for outer, _ in size.layers(inner=False).values()]
    vocabulary = number("vocab_size") or max(rows, default=0)  # some leave out what is usual
    if not (hidden and layers and vocabulary):
        return None
    head = number("head_dim") or hidden // heads
    inner = number("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    if experts := number("num_experts_per_tok", "num_experts_per_token"):
        of_each = number("moe_intermediate_size") or inner
        # Beside their own widths a copy of the token goes into each expert, and one comes out.
        shared = number("shared_expert_intermediate_size", "n_shared_experts") and inner
        inner = max(inner, experts * (of_each + hidden) + shared)
    return Widths(
        hidden=hidden,
        queries=heads * head,
        heads=heads,
        inner=inner,
        norms=_norms(size, heads, head) or 2 * hidden,
        layers=layers,
        vocabulary=vocabulary,
        keeps_scores=config.get("model_type") in KEEPING_SCORES,
    )


def _norms(size: ModelSize, heads: int, head: int) -> int:
    """Return what the norms of the layer with most of them read of a token."""
    layers: dict[str, int] = {}
    for name, shape in size.tensors.items():
        number = _LAYER.search(name)
        if number and len(shape) == 1 and name.endswith("weight") and _NORM.search(name):
            # One for each head is stored once.
            read = heads * head if shape[0] == head else shape[0]
            layers[number[1]] = layers.get(number[1], 0) + read
    return max(layers.values(), default=0)


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

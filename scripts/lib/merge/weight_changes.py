"""How a finished checkpoint differs from its base: architecture, vocabulary, and share of weights.

Both models stay on disk; a few million numbers of each are in memory at a time.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import torch

from scripts.lib.merge.embeddings import OUTPUT_NAMES, embedding_name
from scripts.lib.merge.safetensors_files import (
    FLOATS,
    StoredTensor,
    as_tensor,
    read_into,
    read_model,
)

BLOCK_BYTES = 1 << 24


class WeightChanges(TypedDict):
    """What tells a checkpoint from its base; of each pair the base's comes first.

    Attributes:
        architecture: What the two config.json call their model.
        vocabulary: Rows of the embeddings; 0 where no tensor is known as one.
        dtypes: What most weights are stored as.
        tensors: How many tensors both have, of one shape but for rows of the vocabulary.
        tensors_changed: In how many of them a number differs.
        only_in_one: Names of the other tensors. An output layer that is tied in one and stored in
            the other is none of them.
        weights: Numbers that were compared, as float32.
        weights_changed: How many of them differ.
        relative_change: Length of all differences, as a part of the length of the base's weights;
            None where a weight is no finite number.
    """

    architecture: list[str]
    vocabulary: list[int]
    dtypes: list[str]
    tensors: int
    tensors_changed: int
    only_in_one: list[str]
    weights: int
    weights_changed: int
    relative_change: float | None


def compare_weights(base: Path, checkpoint: Path) -> WeightChanges:
    """Compare the weights of two models, those of each name in turn.

    Args:
        base: Folder of the base.
        checkpoint: Folder of the checkpoint.

    Raises:
        MergeError: If a weight file is missing or damaged.
    """
    before, after = _tensors(base), _tensors(checkpoint)
    embedding = embedding_name(before)
    pairs = {
        name: (tensor, after[name])
        for name, tensor in before.items()
        if name in after and _alike(tensor, after[name], grows=name in (embedding, *OUTPUT_NAMES))
    }
    odd = {name for name in before.keys() | after.keys() if name not in pairs}
    odd -= {name for name in OUTPUT_NAMES if (name in before) != (name in after)}
    weights = changed = tensors_changed = 0
    lengths = [0.0, 0.0]
    for one, other in pairs.values():
        differing = 0
        for old, new in _blocks(one, other):
            differing += int((old != new).sum())
            weights += old.numel()
            lengths[0] += float(old.double().square().sum())
            lengths[1] += float((new - old).double().square().sum())
        changed += differing
        tensors_changed += bool(differing)
    change = math.sqrt(lengths[1] / lengths[0]) if lengths[0] else 0.0
    return {
        "architecture": [_architecture(base), _architecture(checkpoint)],
        "vocabulary": [
            found[name].rows if (name := embedding_name(found)) else 0 for found in (before, after)
        ],
        "dtypes": [_dtype(before), _dtype(after)],
        "tensors": len(pairs),
        "tensors_changed": tensors_changed,
        "only_in_one": sorted(odd),
        "weights": weights,
        "weights_changed": changed,
        "relative_change": change if math.isfinite(change) else None,
    }


def _tensors(model: Path) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for file in read_model(model) for tensor in file.tensors}


def _dtype(tensors: Mapping[str, StoredTensor]) -> str:
    """Return what most tensors are stored as; of equally many, the first by name."""
    counts = Counter(tensor.dtype for _, tensor in sorted(tensors.items()))
    return max(counts, key=lambda dtype: counts[dtype])


def _architecture(model: Path) -> str:
    return str(json.loads((model / "config.json").read_text()).get("model_type", ""))


def _alike(one: StoredTensor, other: StoredTensor, *, grows: bool) -> bool:
    """Tell whether the numbers of two tensors can be set side by side."""
    if not {one.dtype, other.dtype} <= set(FLOATS):
        return False
    same = one.shape[1:] == other.shape[1:] if grows and one.shape else one.shape == other.shape
    return same and bool(one.shape) == bool(other.shape)


def _blocks(one: StoredTensor, other: StoredTensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the numbers that both have, in float32, a block at a time."""
    rows = min(one.rows, other.rows)
    numbers = rows * math.prod(one.shape[1:])
    step = BLOCK_BYTES // 4
    with one.file.open("rb") as first, other.file.open("rb") as second:
        for start in range(0, numbers, step):
            count = min(step, numbers - start)
            yield (
                _read(first.fileno(), one, start, count),
                _read(second.fileno(), other, start, count),
            )


def _read(descriptor: int, tensor: StoredTensor, start: int, count: int) -> torch.Tensor:
    size = tensor.bytes // math.prod(tensor.shape)
    data = bytearray(count * size)
    read_into(descriptor, tensor.start + start * size, data)
    return as_tensor(data, tensor.dtype).float()

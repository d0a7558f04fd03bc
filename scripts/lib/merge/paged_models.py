"""A model in float32 that need not fit in memory: its weights lie in files that the kernel pages.

Each weight is a shared mapping of a file in a scratch folder, so that what was not used for longest
is written back and dropped when memory is short. Everything that works on a model, PEFT's merge in
place included, works on it, only slower.
"""

import math
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from scripts.lib.errors import MergeError
from scripts.lib.memory_limits import free_bytes
from scripts.lib.merge.safetensors_files import StoredTensor, read_model, read_tensor

FLOAT32_BYTES = 4
ROOM = 1.25
"""How much more than its weights a model takes: activations, logits, one merged weight."""


class Loaded(NamedTuple):
    """A model, and the names of weights that were missing, left over or of another shape.

    What Transformers leaves out in silence is not among them: buffers that models of today compute
    by themselves (causal masks, rotary frequencies).
    """

    model: PreTrainedModel
    odd: list[str]


def hollow_model(folder: Path) -> PreTrainedModel:
    """Return the causal language model that the config in *folder* tells of, without its weights.

    Each weight is on the device "meta": it has a shape and takes no memory.
    """
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder), dtype=torch.float32
        )
    model.tie_weights()
    return model


def load_float32(folder: Path, scratch: Path | None, free: int | None = None) -> Loaded:
    """Load the causal language model in *folder* in float32, in evaluation mode.

    Args:
        folder: A complete model.
        scratch: A folder for its weights, should they not fit in memory; None keeps them there.
        free: Free memory in bytes; None asks the machine.
    """
    if scratch is not None and not fits(folder, free):
        return _load_paged(folder, scratch)
    return _load(folder, {})


def _load(folder: Path, options: Mapping[str, Any]) -> Loaded:
    """Load a model by Transformers, with *options*."""
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, **options
    )
    return Loaded(model.eval(), [str(name) for names in found.values() for name in names])


def fits(folder: Path, free: int | None = None) -> bool:
    """Tell whether the model in *folder* fits in free memory in float32."""
    numbers = sum(math.prod(t.shape) for file in read_model(folder) for t in file.tensors)
    available = free_bytes(torch.device("cpu")) if free is None else free
    return bool(numbers * FLOAT32_BYTES * ROOM <= available)


def _load_paged(folder: Path, scratch: Path) -> Loaded:
    """Load a model whose weights are files.

    Raises:
        MergeError: when Transformers builds its weights from those of the files in another form
            (experts of a mixture, old names), which needs them in memory.
    """
    model = hollow_model(folder)
    known = model.state_dict()
    weights: dict[str, torch.Tensor] = {}
    for tensor in (tensor for file in read_model(folder) for tensor in file.tensors):
        name = memory_name(tensor.name, known, model.base_model_prefix)
        if name:
            weights[name] = _paged(scratch / f"{len(weights)}.weight", tensor)
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    empty = [name for name, weight in model.named_parameters() if weight.is_meta]
    if empty:
        raise MergeError(
            f"{folder} does not fit in memory in float32, and {empty[0]} is not stored as it is"
            " used, so that it cannot be proved from disk: give prove_merge more memory"
            " (--set-resources prove_merge:mem_mb=...)."
        )
    return Loaded(model.eval(), _load(folder, {"device_map": {"": "meta"}}).odd)


def _paged(file: Path, tensor: StoredTensor) -> torch.Tensor:
    """Return *tensor* in float32, in a new file.

    Raises:
        MergeError: when the disk is full.
    """
    size = math.prod(tensor.shape)
    try:
        # Before it is mapped: who writes to a mapped file that finds no room is killed by a signal.
        with file.open("wb") as new:
            os.posix_fallocate(new.fileno(), 0, max(1, size * FLOAT32_BYTES))
    except OSError as error:
        raise MergeError(
            f"{file.parent} has no room for a model that does not fit in memory ({error.strerror}):"
            " make room, or give prove_merge more memory (--set-resources prove_merge:mem_mb=...)."
        ) from error
    paged = torch.from_file(str(file), shared=True, size=size, dtype=torch.float32)
    return paged.view(tensor.shape).copy_(read_tensor(tensor))


def memory_name(stored: str, known: Container[str], prefix: str) -> str:
    """Return what a model in memory calls a tensor of its files, or nothing where it has none.

    Args:
        stored: The tensor's name in the files.
        known: The names that the model has.
        prefix: Its `base_model_prefix`: old files were saved from the inner model.
    """
    return next((name for name in (stored, f"{prefix}.{stored}") if name in known), "")

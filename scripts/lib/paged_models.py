"""A model in float32 that need not fit in memory: its weights lie in files that the kernel pages.

Each weight is a shared mapping of a file in a scratch folder, so that what was not used for longest
is written back and dropped when memory is short. Everything that works on a model, PEFT's merge in
place included, works on it, only slower.
"""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from scripts.lib.errors import MergeError
from scripts.lib.memory import free_bytes
from scripts.lib.weight_files import read_model, read_tensor

FLOAT32_BYTES = 4
ROOM = 1.25
"""How much more than its weights a model takes: activations, logits, one merged weight."""


class Loaded(NamedTuple):
    """A model, and the names of weights that were missing, left over or of another shape."""

    model: PreTrainedModel
    odd: list[str]


def load_float32(folder: Path, scratch: Path | None, free: int | None = None) -> Loaded:
    """Load the causal language model in *folder* in float32, in evaluation mode.

    Args:
        folder: A complete model.
        scratch: A folder for its weights, should they not fit in memory; None keeps them there.
        free: Free memory in bytes; None asks the machine.
    """
    if scratch is not None and not fits(folder, free):
        return _load_paged(folder, scratch)
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
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
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder), dtype=torch.float32
        )
    known = model.state_dict()
    weights: dict[str, torch.Tensor] = {}
    for tensor in (tensor for file in read_model(folder) for tensor in file.tensors):
        inner = f"{model.base_model_prefix}.{tensor.name}"
        name = tensor.name if tensor.name in known else inner
        weights[name] = torch.from_file(
            str(scratch / f"{len(weights)}.weight"),
            shared=True,
            size=math.prod(tensor.shape),
            dtype=torch.float32,
        ).view(tensor.shape)
        weights[name].copy_(read_tensor(tensor))
    found = model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    empty = [name for name, weight in model.named_parameters() if weight.is_meta]
    if empty:
        raise MergeError(
            f"{folder} does not fit in memory in float32, and {empty[0]} is not stored as it is"
            " used, so that it cannot be proved from disk: give prove_merge more memory"
            " (--set-resources prove_merge:mem_mb=...)."
        )
    return Loaded(model.eval(), list(found.unexpected_keys))

"""Models in float32 for PEFT to merge and for the proof: a merged one, or a base with an adapter.

A model need not fit in memory. Each weight is then a shared mapping of a file in a scratch folder,
so that what was not used for longest is written back and dropped when memory is short. Everything
that works on a model, PEFT's merge in place included, works on it, only slower.
"""

import math
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import init_empty_weights
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from scripts.lib.adapters.lora import ADAPTER_WEIGHTS
from scripts.lib.errors import MergeError
from scripts.lib.machine.memory_limits import free_bytes
from scripts.lib.merge.embeddings import EMBEDDING_ENDINGS, embedding_name
from scripts.lib.merge.safetensors_files import (
    StoredTensor,
    read_bytes,
    read_model,
    read_tensor,
    read_weight_file,
)
from scripts.lib.merge.unmerged import attach

FLOAT32_BYTES = 4
# How PEFT names an embedding that it also adds to.
WRAPPED = tuple(f"{ending.removesuffix('weight')}base_layer.weight" for ending in EMBEDDING_ENDINGS)
WRAPPED += tuple(
    f"{ending.removesuffix('weight')}token_adapter.base_layer.weight"
    for ending in EMBEDDING_ENDINGS
)
ROOM = 1.25
"""How much more than its weights a model takes: activations, logits, one merged weight."""


class Loaded(NamedTuple):
    """A model, and the names of weights that were missing, left over or of another shape.

    What Transformers leaves out in silence is not among them: buffers that models of today compute
    by themselves (causal masks, rotary frequencies).
    """

    model: PreTrainedModel
    odd: list[str]


def meta_model(folder: Path) -> PreTrainedModel:
    """Return the causal language model that the config in *folder* tells of, on the meta device.

    Its weights have shapes and take no memory; its buffers are real.
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
    model = meta_model(folder)
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


def load_tuned(
    model: Path,
    adapter: Path,
    *,
    untie: bool = False,
    scratch: Path | None = None,
    free: int | None = None,
) -> PeftModel:
    """Load *model* with *adapter* in float32; a vocabulary that the adapter resized is resized.

    Args:
        model: Folder of the base.
        adapter: Folder of the adapter.
        untie: Whether to give the output layer a copy of the embedding that it is tied to. PEFT
            merges into tied weights as if they were one, which its forward pass does not.
        scratch: A folder for the weights, should they not fit in memory; None keeps them there.
        free: Free memory in bytes; None asks the machine.

    Raises:
        MergeError: If the adapter fits another base.
    """
    base = load_float32(model, scratch, free).model
    rows = _embedding_rows(adapter)
    if rows and rows != base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(rows, mean_resizing=False)
    if untie:
        head = base.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        base.config.tie_word_embeddings = False
    hint = f"The adapter {adapter} was trained on another base than {model}; give the one it names."
    try:
        tuned, left = attach(base, adapter)
    except (RuntimeError, ValueError) as error:
        raise MergeError(f"PEFT cannot put the adapter on its base: {error} {hint}") from error
    if odd := [name for name in left if not _is_tied_copy(name, adapter)]:
        names = ", ".join(odd[:3])
        raise MergeError(f"the base has no place for {names} ({len(odd)} in all). {hint}")
    return tuned.eval()


def _is_tied_copy(name: str, adapter: Path) -> bool:
    """Tell whether *name* is what PEFT saved of a tied output layer beside its embedding's."""
    stored = read_weight_file(adapter / ADAPTER_WEIGHTS).tensors
    copies = [t for t in stored if t.name.endswith(".token_adapter.trainable_tokens_delta")]
    own = [t for t in copies if t.name == name]
    return any(read_bytes(t) == read_bytes(one) for one in own for t in copies if t is not one)


def _embedding_rows(adapter: Path) -> int:
    """Return the rows of the embedding that *adapter* holds as a whole; 0 where it holds none."""
    stored = {t.name: t for t in read_weight_file(adapter / ADAPTER_WEIGHTS).tensors}
    whole = embedding_name(stored) or next((n for n in stored if n.endswith(WRAPPED)), "")
    return stored[whole].rows if whole else 0

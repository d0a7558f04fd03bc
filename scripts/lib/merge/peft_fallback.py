"""Merge by PEFT itself, with the whole model in memory: for what is not merged as a stream.

The model is held in float32 and rounded once, when it is saved in the base's dtype.
"""

import math
from pathlib import Path
from typing import Any

from scripts.lib.errors import MergeError
from scripts.lib.merge.adapter import StoredAdapter
from scripts.lib.merge.float32_models import load_tuned, meta_model
from scripts.lib.merge.merged_model import MergedModel, changed_config
from scripts.lib.merge.safetensors_files import (
    FLOATS,
    TORCH_DTYPES,
    StoredTensor,
    WeightFile,
    read_model,
    read_tensor,
)


def merge_with_peft(
    model: Path, files: list[WeightFile], adapter: StoredAdapter, planned: MergedModel, out: Path
) -> dict[str, Any]:
    """Write weights and config.json of base + adapter to *out*, and return the facts.

    Args:
        model: Folder of the base.
        files: Its weight files.
        adapter: The adapter.
        planned: What is known of the merge; its config.json is the base's.
        out: Empty folder.

    Raises:
        MergeError: If the adapter belongs to another base, or PEFT cannot merge it.
    """
    dtype = _only_dtype(files, model)
    _check_modules(model, adapter)
    tuned = load_tuned(model, adapter.folder)
    tied = tuned.config.tie_word_embeddings
    try:
        merged = tuned.merge_and_unload()
    except (RuntimeError, ValueError) as error:
        raise MergeError(f"PEFT cannot merge {adapter.folder}: {error}") from error
    rows = merged.get_input_embeddings().weight.shape[0]
    untied = bool(tied) and not merged.config.tie_word_embeddings
    merged.to(TORCH_DTYPES[dtype]).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    (out / "config.json").write_bytes(changed_config(planned.config, rows, untied=untied))
    return _compare(files, out) | {
        "method": "peft",
        "reason": "; ".join(planned.left_to_peft),
        "untied": untied,
    }


def _only_dtype(files: list[WeightFile], model: Path) -> str:
    """Return the dtype of the base's weights, which has to be one, since PEFT's model has one."""
    dtypes = {tensor.dtype for file in files for tensor in file.tensors}
    if len(dtypes) != 1 or not dtypes <= set(FLOATS):
        raise MergeError(
            f"{model} stores {', '.join(sorted(dtypes))}; this adapter is merged by PEFT, which"
            f" needs one of {', '.join(FLOATS)} throughout. Convert the base to one dtype."
        )
    return dtypes.pop()


def _check_modules(model: Path, adapter: StoredAdapter) -> None:
    """Refuse an adapter of another base before the base is loaded.

    Raises:
        MergeError: naming the first tensor that has no place.
    """
    empty = meta_model(model)
    known = {name for name, _ in empty.named_modules()}
    known |= {name for name, _ in empty.named_parameters()}
    for name in adapter.updates:
        if name not in known and name.rpartition(".")[0] not in known:
            raise MergeError(
                f"the base has no tensor {name}. The adapter {adapter.folder} was trained on"
                f" another base than {model}; give the one it names."
            )


def _compare(files: list[WeightFile], out: Path) -> dict[str, Any]:
    """Return the facts that come from comparing the merged tensors in *out* with the base's."""
    base = {tensor.name: tensor for file in files for tensor in file.tensors}
    tensors = [tensor for file in read_model(out) for tensor in file.tensors]
    changes = [_change(base.get(tensor.name), tensor) for tensor in tensors]
    return {
        "tensors": len(tensors),
        "tensors_changed": sum(change != 0 for change in changes),
        "largest_update": max((change for change in changes if change == change), default=0.0),
        "parameters": sum(math.prod(tensor.shape) for tensor in tensors),
    }


def _change(before: StoredTensor | None, after: StoredTensor) -> float:
    """Return the largest absolute change of a number; new rows have changed from nothing."""
    values = read_tensor(after).float()
    if before is not None and before.shape[1:] == after.shape[1:]:
        old = read_tensor(before).float()
        rows = min(before.rows, after.rows)
        values[:rows] -= old[:rows]
    return float(values.abs().max())

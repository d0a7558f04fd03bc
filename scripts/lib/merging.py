"""Merge a LoRA adapter into its base, weight file by weight file.

    merge_adapter(MergeSpec(), model, adapter, out)

Each weight becomes W + scale * (B @ A), added in float32 and rounded once to the base's dtype: to
the bit what PEFT's `merge_and_unload` gives. One weight file is in memory at a time, and the
merged model keeps the base's files, names and dtypes.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scripts.lib.adapters import (
    Update,
    largest_token_id,
    read_tensors,
    read_updates,
    tokenizer_files,
)
from scripts.lib.errors import MergeError

BASE_FILES = ("generation_config.json", "model.safetensors.index.json")
FLOATS = ("F32", "BF16", "F16")  # as safetensors names them


@dataclass(frozen=True, kw_only=True)
class MergeSpec:
    """How to merge.

    Args:
        dtype: "base" keeps each tensor's dtype.
    """

    dtype: Literal["base"] = "base"


def merge_adapter(spec: MergeSpec, model: Path, adapter: Path, out: Path) -> dict[str, Any]:
    """Write base + adapter to *out* as a complete Hugging Face model.

    Config and generation config are the base's, tokenizer and chat template the adapter's.

    Args:
        spec: How to merge.
        model: Folder of the base model (safetensors, not quantised).
        adapter: Folder of the adapter.
        out: Empty folder.

    Returns:
        Facts: tensors (all), tensors_changed, largest_update (absolute, of any weight).

    Raises:
        MergeError: If the adapter belongs to another base or uses features that cannot be merged,
            or a file is missing or broken.
    """
    config = read_base_config(model)
    updates = read_updates(adapter)
    files = weight_files(model)
    _check_fit(updates, files, model, adapter)
    total = changed = 0
    largest = 0.0
    for file in files:
        tensors, metadata = read_tensors(file)
        for name in tensors:
            total += 1
            if (update := updates.get(name)) is None:
                continue
            merged = update.apply(tensors[name])
            difference = (merged.float() - tensors[name].float()).abs().max().item()
            changed += difference != 0  # NaN counts as changed, too
            largest = max(largest, difference)
            tensors[name] = merged
        save_file(tensors, out / file.name, metadata=metadata)
    (out / "config.json").write_bytes(config)
    for name in BASE_FILES:
        if (model / name).is_file():
            shutil.copyfile(model / name, out / name)
    for source in tokenizer_files(adapter):
        shutil.copyfile(source, out / source.name)
    return {"tensors": total, "tensors_changed": changed, "largest_update": largest}


def read_base_config(model: Path) -> bytes:
    """Return the base's config.json as bytes to write, without the path that old files carry.

    Raises:
        MergeError: If the file is missing, or the base is quantised.
    """
    file = model / "config.json"
    if not file.is_file():
        raise MergeError(f"{model} has no config.json: it is no model. Fetch it again.")
    text = file.read_bytes()
    config = json.loads(text)
    if config.get("quantization_config"):
        raise MergeError(
            f"{file}: the base is quantised ({config['quantization_config'].get('quant_method')}),"
            " so a merge would round the adapter away. Merge into the unquantised base."
        )
    if "_name_or_path" not in config:
        return text
    del config["_name_or_path"]
    return (json.dumps(config, indent=2) + "\n").encode()


def weight_files(model: Path) -> list[Path]:
    """Return the safetensors files of *model*, those of its index where it has one.

    Raises:
        MergeError: If there is none, or the index names one that is missing.
    """
    index = model / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        files = [model / name for name in names]
    else:
        files = sorted(model.glob("model*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        what = f"lacks {', '.join(missing)}" if missing else "has no model*.safetensors"
        raise MergeError(f"{model} {what}. Fetch the model again, in safetensors form.")
    return files


def read_shapes(files: list[Path]) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield name, shape and safetensors dtype of each tensor, without reading it."""
    for file in files:
        try:
            with safe_open(file, "pt") as handle:
                names = handle.keys()
                for name in names:
                    part = handle.get_slice(name)
                    yield name, tuple(part.get_shape()), part.get_dtype()
        except SafetensorError as error:
            raise MergeError(
                f"{file} cannot be read ({error}): it is cut short or damaged. Fetch it again."
            ) from error


def _check_fit(
    updates: Mapping[str, Update], files: list[Path], model: Path, adapter: Path
) -> None:
    """Refuse an adapter that was made for another base."""
    base = {name: (shape, dtype) for name, shape, dtype in read_shapes(files)}
    hint = f"The adapter {adapter} was trained on another base than {model}; give the one it names."
    for name, update in updates.items():
        if name not in base:
            raise MergeError(f"the base has no tensor {name}. {hint}")
        shape, dtype = base[name]
        if shape != update.shape:
            raise MergeError(
                f"{name} is {shape} in the base, the adapter fits {update.shape}. {hint}"
            )
        if dtype not in FLOATS:
            raise MergeError(
                f"{name} is stored as {dtype} in {model}: quantised weights cannot take an update."
                " Merge into the unquantised base."
            )
    embedding = embedding_name(base)
    rows = base[embedding][0][0] if embedding else math.inf
    largest = largest_token_id(adapter)
    if largest >= rows:
        raise MergeError(
            f"the adapter's tokenizer has the id {largest}, the base {rows} embedding rows. {hint}"
        )


def embedding_name(names: Mapping[str, Any]) -> str:
    """Return the name of the input embedding among *names*."""
    endings = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
    return next((name for name in names if name.endswith(endings)), "")

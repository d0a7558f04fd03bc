"""Where each tensor of a merged model lies, and what becomes of it.

The merged model has the base's files, names and dtypes. Two things can change that: a vocabulary
that grew (more rows in the embeddings, saved as a whole or one by one as trained tokens), and
embeddings that were tied and no longer agree (the output layer gets a tensor of its own). What does
not fit raises an error that names it.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.lib.errors import MergeError
from scripts.lib.merge.adapter import StoredAdapter, Update
from scripts.lib.merge.embeddings import (
    EMBEDDING_ENDINGS,
    OUTPUT_NAMES,
    check_vocabulary,
    embedding_name,
    output_name,
    settle_tie,
)
from scripts.lib.merge.experts import spread
from scripts.lib.merge.safetensors_files import (
    FLOATS,
    ITEM_BYTES,
    StoredTensor,
    WeightFile,
    make_header,
)
from scripts.lib.model_files import WEIGHTS_INDEX, quantisation_of


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One tensor of the merged model.

    Attributes:
        name: Its name.
        dtype: As safetensors names it.
        shape: Its dimensions.
        source: The base's tensor that it starts from.
        update: What the adapter does to it, or None.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: StoredTensor
    update: Update | None = None

    @property
    def bytes(self) -> int:
        """Size in bytes; a tensor of an unknown dtype keeps its own."""
        if self.shape == self.source.shape:
            return self.source.bytes
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True)
class MergedFile:
    """One weight file of the merged model: its name, the bytes before its data, its tensors."""

    name: str
    header: bytes
    slots: tuple[Slot, ...]


@dataclass(frozen=True, kw_only=True)
class MergedModel:
    """The merged model on disk.

    Attributes:
        files: Its weight files.
        config: Its config.json.
        index: Its index, or None where the base has none.
        untied: Whether the output layer has left the embedding that it was tied to.
        left_to_peft: Why PEFT has to merge; the other fields hold the base then.
    """

    files: tuple[MergedFile, ...]
    config: bytes
    index: bytes | None
    untied: bool = False
    left_to_peft: tuple[str, ...] = ()


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
    if quantisation := quantisation_of(config):
        raise MergeError(
            f"{file}: the base is quantised ({quantisation}),"
            " so a merge would round the adapter away. Merge into the unquantised base."
        )
    if "_name_or_path" not in config:
        return text
    del config["_name_or_path"]
    return _json_bytes(config)


def base_model_type(model: Path) -> str:
    """Return what the base's config calls its architecture."""
    return str(json.loads(read_base_config(model)).get("model_type", ""))


def plan_merged_model(
    model: Path, files: Sequence[WeightFile], adapter: StoredAdapter
) -> MergedModel:
    """Return what the merge of *adapter* into *model* writes.

    Args:
        model: Folder of the base.
        files: Its weight files.
        adapter: The adapter.

    Raises:
        MergeError: If the adapter was made for another base, or the base is quantised.
    """
    config = read_base_config(model)
    index = model / WEIGHTS_INDEX
    index_bytes = index.read_bytes() if index.is_file() else None
    base = {tensor.name: tensor for file in files for tensor in file.tensors}
    updates, reasons = _place(adapter, base)
    untied = False
    if not reasons:
        untied, reasons = settle_tie(updates, base, json.loads(config), adapter)
    if reasons:
        return MergedModel(files=(), config=config, index=None, left_to_peft=reasons)
    hint = (
        f"The adapter {adapter.folder} was trained on another base than {model}; give the one it"
        " names."
    )
    merged = tuple(_file(file, updates, untied, hint) for file in files)
    slots = {slot.name: slot for file in merged for slot in file.slots}
    rows = check_vocabulary({name: slot.shape for name, slot in slots.items()}, adapter, hint)
    embedding = embedding_name(base)
    resized = bool(embedding) and base[embedding].rows != rows
    return MergedModel(
        files=merged,
        config=changed_config(config, rows if resized else 0, untied=untied),
        index=_changed_index(index_bytes, merged),
        untied=untied,
    )


def _place(
    adapter: StoredAdapter, base: Mapping[str, StoredTensor]
) -> tuple[dict[str, Update], tuple[str, ...]]:
    """Return the updates by the names in the base's files, and why PEFT has to do it, if so."""
    if adapter.left_to_peft:
        return {}, adapter.left_to_peft
    placed: dict[str, Update] = {}
    odd = []
    tied = not output_name(base)
    for name, update in spread(adapter.updates, base).items():
        stored = _stored_name(name, base)
        if stored is None and tied and name in OUTPUT_NAMES:
            stored = name
        if stored is None:
            odd.append(name)
        else:
            placed[stored] = update
    if odd:
        return placed, (f"the base's files have no tensor {odd[0]}",)
    return placed, ()


def _stored_name(name: str, base: Mapping[str, StoredTensor]) -> str | None:
    """Return how the base's files call the tensor *name* of the model in memory."""
    if name in base:
        return name
    if name == "lm_head.weight" and "embed_out.weight" in base:  # GPT-NeoX
        return "embed_out.weight"
    # Old files, as GPT-2's, were saved from the inner model: without the first name.
    first, _, rest = name.partition(".")
    if rest in base and not any(other.startswith(f"{first}.") for other in base):
        return rest
    return None


def _file(file: WeightFile, updates: Mapping[str, Update], untied: bool, hint: str) -> MergedFile:
    """Return what becomes of one weight file; the parted output layer lies in the embedding's."""
    slots = []
    for tensor in file.tensors:
        slots.append(_slot(tensor.name, tensor, updates.get(tensor.name), hint))
        if untied and tensor.name.endswith(EMBEDDING_ENDINGS):
            head = OUTPUT_NAMES[0]
            slots.append(_slot(head, tensor, updates[head], hint))
    same = [(slot.name, slot.shape) for slot in slots] == [(t.name, t.shape) for t in file.tensors]
    header = file.header
    if not same:
        header = make_header(((s.name, s.dtype, s.shape) for s in slots), file.metadata)
    return MergedFile(name=file.path.name, header=header, slots=tuple(slots))


def _slot(name: str, source: StoredTensor, update: Update | None, hint: str) -> Slot:
    """Return the slot of one tensor, after checking that its update fits.

    Raises:
        MergeError: If it does not.
    """
    slot = Slot(name=name, dtype=source.dtype, shape=source.shape, source=source)
    if update is None:
        return slot
    parts = (update.whole, update.down, update.up, update.bias, update.token_values)
    dtypes = {source.dtype, *(part.dtype for part in parts if part)}
    if odd := sorted(dtypes - set(FLOATS)):
        raise MergeError(
            f"{name} is stored as {odd[0]} in {source.file.parent}: quantised weights cannot take"
            " an update. Merge into the unquantised base."
        )
    shape = source.shape
    can_grow = name.endswith(EMBEDDING_ENDINGS) or name in OUTPUT_NAMES
    if update.whole:
        fits = update.whole.shape[1:] == shape[1:] and bool(shape)
        if update.whole.shape != shape and not (can_grow and fits):
            raise _misfit(name, shape, update.whole.shape, hint)
        shape = update.whole.shape
    if update.shape not in (None, shape):
        raise _misfit(name, shape, update.shape, hint)
    new = sorted(token for token in update.tokens if shape and token >= shape[0])
    if can_grow and new and new == list(range(shape[0], new[-1] + 1)):
        shape = (new[-1] + 1, *shape[1:])
    if update.token_values and update.token_values.shape != (len(update.tokens), *shape[1:]):
        told = f"{len(update.tokens)} trained tokens as {update.token_values.shape}"
        raise MergeError(f"{name}: the adapter has {told}, the base {shape}. {hint}")
    if max(update.tokens, default=0) >= (shape[0] if shape else 1):
        raise MergeError(f"{name} has {shape[0]} rows, the adapter trains {update.tokens}. {hint}")
    return replace(slot, shape=shape, update=update)


def _misfit(
    name: str, base: tuple[int, ...], fits: tuple[int, ...] | None, hint: str
) -> MergeError:
    return MergeError(f"{name} is {base} in the base, the adapter fits {fits}. {hint}")


def changed_config(text: bytes, rows: int, *, untied: bool) -> bytes:
    """Return config.json with the vocabulary and the tie of the merged model.

    Args:
        text: The base's.
        rows: Of the embedding; 0 where they are not known.
        untied: Whether the output layer has left the embedding.
    """
    config = json.loads(text)
    for part in filter(None, (config, config.get("text_config"))):
        if rows and "vocab_size" in part:
            part["vocab_size"] = rows
        if untied:
            part["tie_word_embeddings"] = False
    return text if config == json.loads(text) else _json_bytes(config)


def _changed_index(text: bytes | None, files: Iterable[MergedFile]) -> bytes | None:
    """Return the index of *files*: the base's bytes, if they are still right."""
    places = {slot: file.name for file in files for slot in file.slots}
    same = all((s.name, s.shape) == (s.source.name, s.source.shape) for s in places)
    if text is None or same:
        return text
    index = json.loads(text)
    numbers = {
        "total_size": sum(slot.bytes for slot in places),
        "total_parameters": sum(math.prod(slot.shape) for slot in places),
    }
    metadata = index.get("metadata", {})
    index["metadata"] = metadata | {k: v for k, v in numbers.items() if k in metadata}
    index["weight_map"] = {slot.name: name for slot, name in places.items()}
    return _json_bytes(index)


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()

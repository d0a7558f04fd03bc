"""Read and write safetensors files by their headers, without loading or mapping them.

A header tells where each tensor's bytes lie, so that a program reads the rows it needs and no
more. It is checked against the file's size before a byte is believed: a mapped file that was cut
short kills its reader with a signal, and a read tensor would have been noise.

Source of the format: https://github.com/huggingface/safetensors#format
"""

import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.lib.errors import MergeError
from scripts.lib.model_files import WEIGHTS_INDEX

# Bytes of one number by the name of its dtype; smaller ones than a byte are packed, and left out.
ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}
FLOATS = ("F32", "BF16", "F16")  # what weights come in that can be merged
TORCH_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
MAX_HEADER_BYTES = 100_000_000  # the format's own limit


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies.

    Attributes:
        name: Its name.
        dtype: As safetensors names it: F32, BF16, F16, ...
        shape: Its dimensions, outermost first.
        file: The file.
        start: Offset of its first byte in the file.
        end: Offset behind its last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.end - self.start

    @property
    def rows(self) -> int:
        """Number of rows: of the outermost dimension, 1 for a scalar."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True)
class WeightFile:
    """One safetensors file.

    Attributes:
        path: The file.
        header: Its bytes before the data, as they are.
        tensors: Its tensors in the order of their bytes.
        metadata: The header's own entries, mostly {"format": "pt"}.
    """

    path: Path
    header: bytes
    tensors: tuple[StoredTensor, ...]
    metadata: Mapping[str, str]


def weight_files(model: Path) -> list[Path]:
    """Return the safetensors files of *model*, those of its index where it has one.

    Raises:
        MergeError: If there is none, or the index is damaged or names one that is missing.
    """
    index = model / WEIGHTS_INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MergeError(f"{index} is damaged ({error!r}). Fetch the model again.") from error
        files = [model / name for name in names]
    else:
        files = sorted(model.glob("model*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        what = f"lacks {', '.join(missing)}" if missing else "has no model*.safetensors"
        raise MergeError(f"{model} {what}. Fetch the model again, in safetensors form.")
    return files


def read_model(model: Path) -> list[WeightFile]:
    """Return the weight files of *model*, each tensor in one of them.

    Raises:
        MergeError: If a file is missing or damaged, or two hold the same tensor.
    """
    files = [read_weight_file(path) for path in weight_files(model)]
    seen: dict[str, Path] = {}
    for file in files:
        for tensor in file.tensors:
            if tensor.name in seen:
                raise MergeError(
                    f"{tensor.name} is both in {seen[tensor.name].name} and in {file.path.name} of"
                    f" {model}. Fetch the model again."
                )
            seen[tensor.name] = file.path
    return files


def read_weight_file(path: Path) -> WeightFile:
    """Read and check the header of the safetensors file *path*.

    Raises:
        MergeError: If the file is missing, or its header does not describe its bytes.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
                raise ValueError(f"its header cannot lie within its {size} bytes")
            text = file.read(length)
        entries = json.loads(text)
        metadata = entries.pop("__metadata__", {})
        tensors = _tensors(path, entries, 8 + length, size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(
            f"{path} cannot be read ({error}): it is missing, cut short or damaged. Make or fetch"
            " it again."
        ) from error
    return WeightFile(path, start + text, tensors, metadata)


def _tensors(
    path: Path, entries: Mapping[str, Mapping[str, Any]], data: int, size: int
) -> tuple[StoredTensor, ...]:
    """Return the tensors that *entries* tell of, whose bytes fill the file from *data* on.

    Raises:
        ValueError: If they do not.
    """
    tensors = []
    for name, entry in entries.items():
        first, last = entry["data_offsets"]
        shape = tuple(entry["shape"])
        tensors.append(StoredTensor(name, entry["dtype"], shape, path, data + first, data + last))
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    place = data
    for tensor in tensors:
        item = ITEM_BYTES.get(tensor.dtype)
        if tensor.start != place or tensor.end < tensor.start:
            raise ValueError(f"{tensor.name} does not lie where the tensor before it ends")
        if item is not None and tensor.bytes != math.prod(tensor.shape) * item:
            raise ValueError(f"{tensor.name} has {tensor.bytes} bytes, which is not its shape")
        place = tensor.end
    if place != size:
        raise ValueError(f"its tensors end at byte {place}, the file at {size}")
    return tuple(tensors)


def make_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """Return the bytes before the data of a file with *tensors* (name, dtype, shape), in order."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, dtype, shape in tensors:
        size = math.prod(shape) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data starts at a multiple of 8
    return struct.pack("<Q", len(text)) + text


def read_into(descriptor: int, start: int, target: bytearray | memoryview) -> None:
    """Fill *target* with the bytes of an open file from *start* on.

    Raises:
        MergeError: If the file ends before that: it was changed since its header was read.
    """
    view = memoryview(target)
    while view:
        count = os.preadv(descriptor, [view], start)
        if not count:
            raise MergeError("a weight file became shorter while it was read. Fetch it again.")
        view, start = view[count:], start + count


def read_bytes(tensor: StoredTensor) -> bytearray:
    """Return the bytes of *tensor*."""
    target = bytearray(tensor.bytes)
    with tensor.file.open("rb") as file:
        read_into(file.fileno(), tensor.start, target)
    return target


def read_tensor(tensor: StoredTensor) -> torch.Tensor:
    """Return *tensor* as stored."""
    return as_tensor(read_bytes(tensor), tensor.dtype).view(tensor.shape)


def as_tensor(data: bytearray, dtype: str) -> torch.Tensor:
    """Return *data* as a flat tensor of the safetensors *dtype*, without a copy."""
    kind = TORCH_DTYPES[dtype]
    return torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)

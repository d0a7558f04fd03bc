"""Merge a LoRA adapter into its base in the memory of one tensor.

    merge_adapter(model, adapter, out)

The base's bytes are streamed to the merged model. What the adapter does not touch is copied; what
it does touch passes through memory in blocks of rows, where W becomes W + scale * (B @ A), added in
float32 and rounded once: to the bit what PEFT's `merge_and_unload` gives. Whatever this cannot do
is left to PEFT, in memory, and said in the facts.
"""

import errno
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch

from scripts.lib.errors import MergeError
from scripts.lib.files import copy_files
from scripts.lib.merge.adapter import Update, carried_files, read_adapter
from scripts.lib.merge.merged_model import (
    MergedFile,
    MergedModel,
    Slot,
    base_model_type,
    plan_merged_model,
)
from scripts.lib.merge.safetensors_files import (
    TORCH_DTYPES,
    StoredTensor,
    as_tensor,
    read_into,
    read_model,
    read_tensor,
)
from scripts.lib.model_files import WEIGHTS_INDEX
from scripts.lib.progress import Count

BLOCK_NUMBERS = 1 << 18  # in one block of rows: 1 MiB in float32, which stays near the processor
COPY_BYTES = 1 << 26
EXPERTS_NDIM = 3  # of a tensor that holds all experts of a layer
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def merge_adapter(model: Path, adapter: Path, out: Path, *, threads: int = 1) -> dict[str, Any]:
    """Write base + adapter to *out* as a complete Hugging Face model, each tensor in its own dtype.

    Config and generation config are the base's, tokenizer and chat template the adapter's; where
    the model is to stop, `stopping` adds. All that can be wrong with the inputs is found before
    anything is written.

    Args:
        model: Folder of the base model (safetensors, not quantised).
        adapter: Folder of the adapter, with its tokenizer.
        out: Empty folder.
        threads: Threads that read, add and write; they do not change the result.

    Returns:
        Facts: method (stream or peft), reason (why peft, else empty), tensors, tensors_changed,
        largest_update (absolute, of any weight), parameters, untied (whether the embeddings were
        tied and are not any more).

    Raises:
        MergeError: If the adapter belongs to another base or uses features that cannot be merged,
            a file is missing or broken, or the disk is full.
    """
    files = read_model(model)
    tuned = read_adapter(adapter, base_model_type(model))
    planned = plan_merged_model(model, files, tuned)
    try:
        if planned.left_to_peft:
            # Only here, since importing the libraries costs more than most merges.
            from scripts.lib.merge.peft_fallback import merge_with_peft

            facts = merge_with_peft(model, files, tuned, planned, out)
        else:
            facts = _stream(planned, out, threads)
        copy_files(carried_files(model, adapter), out)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        size = sum(file.path.stat().st_size for file in files) / 2**30
        raise MergeError(
            f"{out} has no room for the merged model ({error.strerror}): it takes {size:.2f} GiB,"
            f" {shutil.disk_usage(out).free / 2**30:.2f} GiB are free. Make room or raise the limit"
            " and run again."
        ) from error
    return facts


class _Task(NamedTuple):
    """Neighbouring slots of a file that are copied together, or one that is updated."""

    file: Path
    start: int
    slots: tuple[Slot, ...]


def _stream(planned: MergedModel, out: Path, threads: int) -> dict[str, Any]:
    """Write weights, index and config of *planned*, and return the facts."""
    _shared.cache_clear()
    tasks: list[_Task] = []
    for file in planned.files:
        (out / file.name).write_bytes(file.header)
        tasks += _tasks(file, out / file.name)
    before = torch.get_num_threads()
    # The threads share the tensors out among them; within a product they would get in the way.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        changes = list(_told(tasks, pool.map(_run, tasks)))
    torch.set_num_threads(before)
    (out / "config.json").write_bytes(planned.config)
    if planned.index is not None:
        (out / WEIGHTS_INDEX).write_bytes(planned.index)
    slots = [slot for file in planned.files for slot in file.slots]
    return {
        "method": "stream",
        "reason": "",
        "tensors": len(slots),
        "tensors_changed": sum(change != 0 for change in changes),  # no number differs, too
        "largest_update": max((change for change in changes if change == change), default=0.0),
        "parameters": sum(math.prod(slot.shape) for slot in slots),
        "untied": planned.untied,
    }


def _told(tasks: Sequence[_Task], changes: Iterable[float]) -> Iterator[float]:
    """Yield what the tasks give, and say on the way how far they are."""
    count = Count("tensors written", sum(len(task.slots) for task in tasks))
    for task, change in zip(tasks, changes, strict=True):
        count.add(len(task.slots))
        yield change


def _tasks(file: MergedFile, target: Path) -> Iterator[_Task]:
    """Yield what to do for each part of *file*."""
    place = len(file.header)
    start, run = place, list[Slot]()
    for slot in file.slots:
        follows = not run or run[-1].source.end == slot.source.start
        if run and (slot.update is not None or not follows):
            yield _Task(target, start, tuple(run))
            run = []
        if slot.update is not None:
            yield _Task(target, place, (slot,))
        else:
            start = start if run else place
            run.append(slot)
        place += slot.bytes
    if run:
        yield _Task(target, start, tuple(run))


def _run(task: _Task) -> float:
    """Write the slots of *task* and return the largest absolute change of a weight."""
    first = task.slots[0]
    with task.file.open("r+b") as target:
        if first.update is not None:
            return _write_updated(first, target.fileno(), task.start)
        with first.source.file.open("rb") as source:
            size = task.slots[-1].source.end - first.source.start
            copy_range(source.fileno(), target.fileno(), first.source.start, task.start, size)
    return 0.0


class Block(NamedTuple):
    """Some rows of a merged tensor, in its dtype, and the largest absolute change of a number."""

    merged: torch.Tensor
    change: float


class UpdatedRows:
    """The rows of a merged tensor, computed as they are asked for.

        with UpdatedRows(slot) as rows:
            merged, change = rows.block(first, last)

    It holds the adapter's part for this one tensor, and nothing of the base. Everything is added in
    float32 and rounded once to the base's dtype. The products and sums are PEFT's, in PEFT's order,
    and a row of a product does not depend on the rows beside it: so the bits are those of PEFT's
    `merge_and_unload`.
    """

    def __init__(self, slot: Slot) -> None:
        """Read the adapter's part; *slot* must have an update."""
        assert slot.update is not None
        self._slot, self._update = slot, slot.update
        self._dtype = TORCH_DTYPES[slot.dtype]
        self._down, self._up = _factors(self._update)
        self._bias, self._magnitude = _float(self._update.bias), _float(self._update.magnitude)
        values = self._update.token_values
        self._tokens = {}
        if values is not None:
            rows = read_tensor(values).to(self._dtype)
            self._tokens = dict(zip(self._update.tokens, rows, strict=True))
        self._base = slot.source.file.open("rb")
        self._whole = self._update.whole.file.open("rb") if self._update.whole else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._base.close()
        if self._whole:
            self._whole.close()

    @property
    def splits(self) -> bool:
        """Whether blocks can be smaller than the tensor: not where lengths go across the rows."""
        return self._magnitude is None or not self._update.transposed

    def block(self, first: int, last: int) -> Block:
        """Return the merged rows *first* to *last*, and how far they are from the base's."""
        known = min(last, self._slot.source.rows)  # rows behind it are of a grown vocabulary
        base = self._rows(self._base.fileno(), self._slot.source, first, known)
        merged = base
        if self._whole and self._update.whole:
            merged = self._rows(self._whole.fileno(), self._update.whole, first, last)
            merged = merged.to(self._dtype)
        if self._down is not None or self._bias is not None:
            merged = self._added(merged.float(), first, last).to(self._dtype)
        if self._tokens:
            merged = self._with_tokens(merged, first, last)
        change = merged.to(torch.float32, copy=True)
        change[: len(base)].sub_(base) if base.ndim else change.sub_(base)
        return Block(merged, change.abs_().max().item() if change.numel() else 0.0)

    def _rows(self, descriptor: int, tensor: StoredTensor, first: int, last: int) -> torch.Tensor:
        """Return rows of a stored tensor."""
        row = tensor.bytes // max(tensor.rows, 1)
        data = bytearray(max(last - first, 0) * row)
        read_into(descriptor, tensor.start + first * row, data)
        return as_tensor(data, tensor.dtype).view((-1, *tensor.shape[1:]) if tensor.shape else ())

    def _added(self, rows: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return *rows* + the update, all in float32."""
        if self._bias is not None:
            return rows + self._bias[first:last] * self._update.scale
        assert self._down is not None and self._up is not None
        if rows.ndim == EXPERTS_NDIM:
            to = "eio" if self._update.transposed else "eoi"
            change = torch.einsum(
                f"ore,eri->{to}", self._up[..., first:last], self._down[first:last]
            )
            return rows + change.mul_(self._update.scale)
        if not self._update.transposed:
            change = self._up[first:last] @ self._down
            merged = change.mul_(self._update.scale).add_(rows)
            if self._magnitude is None:
                return merged
            own = torch.linalg.norm(merged, dim=1)
            return merged.mul_((self._magnitude.view(-1)[first:last] / own)[:, None])
        change = (self._up @ self._down[:, first:last]).T
        merged = rows + change.mul_(self._update.scale)  # laid out as rows: so PEFT takes its norm
        if self._magnitude is None:
            return merged
        own = torch.linalg.norm(merged.T, dim=1)  # a column is an output, and all rows are here
        return merged.mul_((self._magnitude.view(-1) / own)[None])

    def _with_tokens(self, rows: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return *rows* with the trained tokens in their places, grown ones too."""
        new = last - first - len(rows)
        rows = torch.cat([rows, rows.new_zeros(new, *rows.shape[1:])]) if new else rows.clone()
        for token, values in self._tokens.items():
            if first <= token < last:
                rows[token - first] = values
        return rows


def _factors(update: Update) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return A and B in float32: (experts, r, inputs), (outputs, r, experts) of many experts."""
    part = update.expert
    if part is None or update.down is None or update.up is None:
        return _float(update.down), _float(update.up)
    down = _shared(update.down).view(part.count, -1, update.down.shape[1])
    up = _shared(update.up).view(update.up.shape[0], -1, part.count)
    if part.index is None:
        return down, up
    up = up if part.half is None else up.chunk(2)[part.half]
    return down[part.index], up[..., part.index]


@lru_cache(maxsize=8)
def _shared(tensor: StoredTensor) -> torch.Tensor:
    """Return a tensor of an adapter that is read for one expert after the other."""
    return read_tensor(tensor).float()


def _float(tensor: StoredTensor | None) -> torch.Tensor | None:
    return None if tensor is None else read_tensor(tensor).float()


def _write_updated(slot: Slot, target: int, place: int) -> float:
    """Write the merged tensor of *slot* to the open file *target* from the byte *place* on."""
    count = slot.shape[0] if slot.shape else 1
    step = max(1, BLOCK_NUMBERS * count // max(1, math.prod(slot.shape)))
    changes = [0.0]
    with UpdatedRows(slot) as rows:
        step = step if rows.splits else max(1, count)
        for first in range(0, count, step):
            merged, change = rows.block(first, min(count, first + step))
            _write(target, merged, place)
            place += merged.nbytes
            changes.append(change)
    return max(changes, key=lambda change: (change != change, change))  # what is no number wins


def _write(target: int, block: torch.Tensor, place: int) -> None:
    """Write the bytes of *block* to the open file *target* from the byte *place* on."""
    view = memoryview(block.contiguous().view(-1).view(torch.uint8).numpy())
    while view:
        count = os.pwrite(target, view, place)
        view, place = view[count:], place + count


def copy_range(source: int, target: int, start: int, place: int, size: int) -> None:
    """Copy *size* bytes between open files, in the kernel where it can, sharing where it can."""
    while size:
        try:
            count = os.copy_file_range(source, target, min(size, COPY_BYTES), start, place)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            break
        if not count:
            break
        start, place, size = start + count, place + count, size - count
    while size:  # file systems between which the kernel does not copy
        data = bytearray(min(size, COPY_BYTES // 16))
        read_into(source, start, data)
        count = os.pwrite(target, data, place)
        start, place, size = start + count, place + count, size - count

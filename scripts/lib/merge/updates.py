"""The arithmetic of a merge, on a block of rows of one tensor.

    with UpdatedRows(slot) as rows:
        merged, change = rows.block(first, last)

Everything is added in float32 and rounded once to the base's dtype. The products and sums are
PEFT's, in PEFT's order, and a row of a product does not depend on the rows beside it: so the bits
are those of PEFT's `merge_and_unload`.
"""

from types import TracebackType
from typing import NamedTuple, Self

import torch

from scripts.lib.merge.layout import Slot
from scripts.lib.merge.safetensors_files import (
    TORCH_DTYPES,
    StoredTensor,
    as_tensor,
    read_into,
    read_tensor,
)


class Block(NamedTuple):
    """Some rows of a merged tensor, in its dtype, and the largest absolute change of a number."""

    merged: torch.Tensor
    change: float


class UpdatedRows:
    """The rows of a merged tensor, computed as they are asked for.

    It holds the adapter's part for this one tensor, and nothing of the base.
    """

    def __init__(self, slot: Slot) -> None:
        """Read the adapter's part; *slot* must have an update."""
        assert slot.update is not None
        self._slot, self._update = slot, slot.update
        self._dtype = TORCH_DTYPES[slot.dtype]
        self._down, self._up = _float(self._update.down), _float(self._update.up)
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
        """Return *rows* with the trained tokens in their places."""
        rows = rows.clone()
        for token, values in self._tokens.items():
            if first <= token < last:
                rows[token - first] = values
        return rows


def _float(tensor: StoredTensor | None) -> torch.Tensor | None:
    return None if tensor is None else read_tensor(tensor).float()

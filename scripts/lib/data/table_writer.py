"""Write rows as Parquet files in bounded memory, the same bytes for the same rows.

Apart from reading them, so that what reads rows does not depend on how shards are cut.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.data.parquet import table_of

ROWS_PER_GROUP = 2_000


class TableWriter:
    """Files of one table, each of which appears with its first row.

    Use as a context manager; leaving it writes what is still held back.

    Args:
        path_of: File of the n-th part, n = 0, 1, ...
        schema: Columns and their types.
        rows_per_file: Rows after which the next part begins; a multiple of ROWS_PER_GROUP, or None
            for one file.
    """

    def __init__(
        self, path_of: Callable[[int], Path], schema: pa.Schema, rows_per_file: int | None = None
    ) -> None:
        self._path_of, self._schema, self._rows_per_file = path_of, schema, rows_per_file
        self._pending: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        self._parts = 0
        self._rows_in_file = 0

    def add(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._pending.append(row)
        if len(self._pending) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            path = self._path_of(self._parts)
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
            self._parts += 1
        self._writer.write_table(table_of(self._pending, self._schema))
        self._rows_in_file += len(self._pending)
        self._pending = []
        if self._rows_per_file is not None and self._rows_in_file >= self._rows_per_file:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._rows_in_file = None, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._close()

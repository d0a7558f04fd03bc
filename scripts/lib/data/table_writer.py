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
        self._tables: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._parts = 0
        self._rows_in_file = 0

    def add(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._pending.append(row)
        if len(self._pending) >= ROWS_PER_GROUP:
            self._take_pending()

    def add_table(self, table: pa.Table) -> None:
        """Append rows; how they are cut into tables leaves no trace in the file."""
        self._take_pending()
        if table.num_rows:
            self._tables.append(table)
            self._write_groups()

    def _take_pending(self) -> None:
        rows, self._pending = self._pending, []
        if rows:
            self.add_table(table_of(rows, self._schema))

    def _write_groups(self, *, last: bool = False) -> None:
        """Write whole groups, and what is left if it is the last."""
        while (held := sum(table.num_rows for table in self._tables)) and (
            last or held >= ROWS_PER_GROUP
        ):
            together = pa.concat_tables(self._tables)
            self._write(together.slice(0, ROWS_PER_GROUP).combine_chunks())
            self._tables = [together.slice(ROWS_PER_GROUP)] if held > ROWS_PER_GROUP else []

    def _write(self, group: pa.Table) -> None:
        if self._writer is None:
            path = self._path_of(self._parts)
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
            self._parts += 1
        self._writer.write_table(group)
        self._rows_in_file += group.num_rows
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
            self._take_pending()
            self._write_groups(last=True)
        self._close()

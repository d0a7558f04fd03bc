"""Rows from and to Parquet files: the same bytes for the same rows, and no more loaded than that.

pyarrow imports pandas, a third of a second of every job, where it reads through its `dataset` and
where it first makes an array of a list; rows of plain values need neither.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 2_000


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a Parquet file, or some of its columns in the given order.

    Raises:
        KeyError: A column is not in the file.
    """
    with pq.ParquetFile(path) as file:
        if columns is None:
            return file.read()
        return file.read(columns=list(columns)).select(list(columns))


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file, or some of their columns.

    Raises:
        KeyError: A column is not in the file.
    """
    rows: list[dict[str, Any]] = read_table(path, columns).to_pylist()
    return rows


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows of plain values as a table; a column that a row lacks is null there."""
    _spare_pandas()
    return pa.Table.from_pylist(list(rows), schema=schema)


@functools.cache
def _spare_pandas() -> None:
    """Let pyarrow find no pandas where it asks whether a list is a pandas array.

    It asks once and works as in an environment without pandas then, until something needs pandas
    (`to_pandas`, `from_pandas`), which imports it after all. Where pandas is loaded nothing is
    spared, and nothing is changed.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _WithoutPandas)
        try:
            pa.array([])
        finally:
            sys.meta_path.remove(_WithoutPandas)


class _WithoutPandas:
    """A finder of modules to which pandas is not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not looked for here", name=name)


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

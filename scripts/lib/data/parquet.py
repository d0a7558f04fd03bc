"""Rows from and to Parquet files: the same bytes for the same rows, and no more loaded than that.

pyarrow imports pandas, a third of a second of every job, where it reads through its `dataset` and
where it first turns a list into an array or an array into NumPy's; plain values need neither.
"""

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a Parquet file, or some of its columns in the given order.

    Raises:
        KeyError: A column is not in the file.
    """
    with pq.ParquetFile(path) as file:
        if columns is None:
            return file.read()
        return file.read(columns=list(columns)).select(list(columns))


def read_table_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file, or some of their columns.

    Raises:
        KeyError: A column is not in the file.
    """
    rows: list[dict[str, Any]] = read_table(path, columns).to_pylist()
    return rows


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows of plain values as a table; a column that a row lacks is null there."""
    spare_pandas()
    return pa.Table.from_pylist(list(rows), schema=schema)


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return plain values as an array; None is null."""
    spare_pandas()
    return pa.array(values, type=kind)


@functools.cache
def spare_pandas() -> None:
    """Let pyarrow find no pandas where it asks whether a list is a pandas array, or makes NumPy's.

    It asks once and works as in an environment without pandas then, until something needs pandas
    (`to_pandas`, `from_pandas`), which imports it after all; before that, `pa.array` takes a series
    of pandas for a plain sequence. Where pandas is loaded nothing is spared or changed.
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

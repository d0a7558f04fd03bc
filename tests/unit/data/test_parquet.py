"""Tables are those that pyarrow makes, and pandas is not loaded for them."""

import math
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data.parquet import read_table, read_table_rows, table_of

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("n", pa.int64()),
        ("share", pa.float64()),
        ("right", pa.bool_()),
        ("ids", pa.list_(pa.int32())),
        ("turns", pa.list_(TURN)),
    ]
)
ROWS = [
    {"id": "a", "n": 1, "share": 1 / 3, "right": True, "ids": [1, 2], "turns": []},
    {"id": None, "n": None, "share": math.inf, "right": None, "ids": None, "turns": None},
    {"id": "\u00e9", "turns": [{"role": "user", "content": None}], "ids": []},
]

ALONE = """
import sys
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from scripts.lib.data.parquet import read_table_rows, table_of
path = Path(sys.argv[1])
table = table_of([{"a": [1, None]}, {"a": None}, {}], pa.schema([("a", pa.list_(pa.int64()))]))
pq.write_table(table, path)
assert read_table_rows(path) == [{"a": [1, None]}, {"a": None}, {"a": None}]
print([name for name in ("pandas", "pyarrow.dataset") if name in sys.modules])
frame = table.to_pandas()
import pandas
assert isinstance(frame, pandas.DataFrame)
series = pa.array(pandas.Series([1.0, float("nan")]))
assert series.null_count == 1, "pyarrow knows pandas again"
"""


def test_a_table_has_the_bytes_of_pyarrows_own(tmp_path):
    for name, table in (
        ("ours", table_of(ROWS, SCHEMA)),
        ("pyarrows", pa.Table.from_pylist(ROWS, schema=SCHEMA)),
    ):
        pq.write_table(table, tmp_path / name)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "pyarrows").read_bytes()


def test_rows_are_read_as_pyarrow_reads_them(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(table_of(ROWS, SCHEMA), path)
    assert read_table_rows(path) == pq.read_table(path).to_pylist()
    assert read_table(path, ["n", "id"]) == pq.read_table(path, columns=["n", "id"])


def test_a_column_that_is_not_there_is_an_error(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(table_of(ROWS, SCHEMA), path)
    with pytest.raises(KeyError, match="nowhere"):
        read_table(path, ["id", "nowhere"])


def test_a_process_without_pandas_stays_without_until_pandas_is_wanted(tmp_path):
    command = [sys.executable, "-c", ALONE, str(tmp_path / "table.parquet")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "[]\n"), found.stderr

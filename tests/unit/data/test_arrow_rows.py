"""Rows of tables come out as they were written: no keys of other rows, JSON as JSON."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data.records import read_rows


def read(folder, rows, schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "train.parquet")
    return list(read_rows(folder / "train.parquet"))


def test_no_object_gains_the_keys_of_another(tmp_path):
    rows = [{"turns": [{"arguments": {"city": "Bonn"}}, {"arguments": {"date": "2025"}}]}]
    assert read(tmp_path, rows) == rows


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda item: pa.list_(item, 2)])
def test_lists_of_every_kind_are_looked_into(tmp_path, kind):
    item = pa.struct([("city", pa.string()), ("date", pa.string())])
    rows = [{"turns": [{"city": "Bonn"}, {"date": "2025"}]}]
    assert read(tmp_path, rows, pa.schema([("turns", kind(item))])) == rows


def test_columns_and_items_of_lists_that_are_null_stay(tmp_path):
    rows = [{"a": None, "b": [None, "x"], "c": {"enum": ["x", None]}}, {"a": 1, "b": [], "c": None}]
    assert read(tmp_path, rows) == rows


def test_nulls_inside_json_texts_stay_and_texts_stay_texts(tmp_path):
    rows = [{"turns": [{"arguments": '{"city": null}', "name": None}]}]
    assert read(tmp_path, rows) == [{"turns": [{"arguments": '{"city": null}'}]}]


def test_cells_of_the_type_json_are_read_with_the_nulls_that_were_written(tmp_path):
    turns = [{"role": "user", "content": None}, "plain", ["a", None]]
    texts = pa.ExtensionArray.from_storage(pa.json_(), pa.array(list(map(json.dumps, turns))))
    prompt = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['"Hi"']))
    table = pa.table({"turns": pa.ListArray.from_arrays([0, 3], texts), "prompt": prompt})
    pq.write_table(table, tmp_path / "train.parquet")
    assert list(read_rows(tmp_path / "train.parquet")) == [{"turns": turns, "prompt": "Hi"}]

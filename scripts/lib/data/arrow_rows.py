"""Rows of Arrow and Parquet tables as they were written: no invented nulls, JSON read as JSON.

All structs of a column have the same fields. So a tool call gains the arguments of all the others,
each as null, and a table cannot tell these from a null that a person wrote: both go. Where a column
holds JSON as text, as the type `Json` of `datasets` does, nothing is invented and nothing goes.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

LISTS = (
    *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    *(pa.types.is_list_view, pa.types.is_large_list_view),
)


def cleaner(schema: pa.Schema) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what makes rows of a table as they were written.

    Args:
        schema: Of the table.

    Returns:
        A function from a row to a row: the columns stay, below them objects lose their null keys
        and cells of the type `arrow.json` are read.
    """
    ways = {field.name: _way(field.type) for field in schema}

    def clean(row: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value if (way := ways.get(name)) is None else way(value)
            for name, value in row.items()
        }

    return clean


def _way(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """Return what is to be done to the cells of a type; None is nothing."""
    if getattr(kind, "extension_name", "") == "arrow.json":
        return _read
    if pa.types.is_struct(kind):
        inner = {field.name: _way(field.type) for field in kind}
        return lambda value: _struct(value, inner)
    if any(is_kind(kind) for is_kind in LISTS):
        way = _way(kind.value_type)
        return None if way is None else lambda value: _list(value, way)
    return None


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _struct(value: Any, ways: Mapping[str, Callable[[Any], Any] | None]) -> Any:
    if value is None:
        return None
    return {
        name: cell if (way := ways[name]) is None else way(cell)
        for name, cell in value.items()
        if cell is not None
    }


def _list(value: Any, way: Callable[[Any], Any]) -> Any:
    return None if value is None else [way(item) for item in value]

"""Raw rows in blocks that another process can read, so that what costs time is done there.

Lines of JSON and batches of tables go as they lie in their files. Rows of a JSON array and of CSV,
of which only a reader knows where they end, are read already.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from scripts.lib.data.packed_files import LINES_SUFFIXES, TABLE_SUFFIXES, kind_of
from scripts.lib.data.records import (
    RawRow,
    RowFiles,
    files_of,
    is_array,
    naming,
    numbered_lines,
    parsed_line,
    read_numbered_rows,
    record_batches,
    rows_of_batch,
)

ROWS_PER_BLOCK = 500
# A block of long lines has fewer; of rows that are read already nobody knows how long they are.
BYTES_PER_BLOCK = 1 << 20

Item = TypeVar("Item")
Read = Callable[[], Iterator[RawRow]]


@dataclass(frozen=True, kw_only=True)
class RowBlock:
    """Some rows of a source that follow one another.

    Attributes:
        source: `train`, `valid` or `test`.
        first: Number of the first in its source, from 0.
        count: How many.
        read: Reads them.
    """

    source: str
    first: int
    count: int
    read: Read


def read_blocks(source: str, rows: RowFiles, limit: int | None = None) -> Iterator[RowBlock]:
    """Yield the rows of a source in blocks.

    Args:
        source: `train`, `valid` or `test`.
        rows: Its files.
        limit: Read at most so many rows.

    Raises:
        RecordError: If a file as a whole cannot be read.
    """
    first = 0
    for path in files_of(rows):
        for count, read in _blocks_of(path, None if limit is None else limit - first):
            yield RowBlock(source=source, first=first, count=count, read=read)
            first += count
        if limit is not None and first >= limit:
            return


def _blocks_of(path: Path, limit: int | None) -> Iterator[tuple[int, Read]]:
    """Yield how many rows each block of a file has, and what reads them."""
    kind = kind_of(path)
    with naming(path):
        if kind in TABLE_SUFFIXES:
            yield from _table_blocks(path, limit)
        elif kind in LINES_SUFFIXES and not is_array(path):
            lines = islice(numbered_lines(path), limit)
            for some_lines in _together(lines, ROWS_PER_BLOCK, lambda line: len(line[1])):
                yield len(some_lines), partial(_read_lines, some_lines)
        else:
            found = (row for _, row in islice(read_numbered_rows(path), limit))
            for some in _together(found, ROWS_PER_BLOCK // 2):
                yield len(some), partial(iter, some)


def _together(
    items: Iterator[Item], most: int, size_of: Callable[[Item], int] = lambda _: 0
) -> Iterator[list[Item]]:
    """Yield items in lists of at most so many; those before an error come before it."""
    some: list[Item] = []
    size = 0
    try:
        for item in items:
            some.append(item)
            size += size_of(item)
            if len(some) == most or size >= BYTES_PER_BLOCK:
                full, some, size = some, [], 0
                yield full
    except Exception:
        if some:
            yield some
        raise
    if some:
        yield some


def _read_lines(lines: list[tuple[int, bytes]]) -> Iterator[RawRow]:
    return (parsed_line(line, number) for number, line in lines)


def _table_blocks(path: Path, limit: int | None) -> Iterator[tuple[int, Read]]:
    for batch in record_batches(path):
        wanted = batch.num_rows if limit is None else min(limit, batch.num_rows)
        for start in range(0, wanted, ROWS_PER_BLOCK):
            some = batch.slice(start, min(ROWS_PER_BLOCK, wanted - start))
            yield some.num_rows, _Batch(path, some)
        if limit is not None:
            limit -= wanted
            if not limit:
                return


class _Batch:
    """Reads the rows of a part of a table, in whichever process."""

    def __init__(self, path: Path, batch: Any) -> None:
        self._path, self._batch = path, batch

    def __call__(self) -> Iterator[RawRow]:
        with naming(self._path):
            yield from rows_of_batch(self._batch)

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrow's own way to pickle a part of a batch takes the whole along.
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._batch.schema) as stream:
            stream.write_batch(self._batch)
        return _unpacked, (self._path, sink.getvalue().to_pybytes())


def _unpacked(path: Path, data: bytes) -> _Batch:
    import pyarrow as pa

    with pa.ipc.open_stream(data) as stream:
        return _Batch(path, stream.read_next_batch())

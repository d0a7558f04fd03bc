"""Blocks of raw rows, formatted: the part of formatting that any process can do.

What is decided over all rows (which repeat others, which split each stands in) waits until every
block has come; the rest of a block waits in a file.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from scripts.lib.data.conversation_tables import conversation_table
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.misfits import LOOKED_AT
from scripts.lib.data.near_duplicates import Signatures, Signer
from scripts.lib.data.parquet import array_of
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.roles import NamedFault
from scripts.lib.data.row_blocks import RowBlock
from scripts.lib.data.row_verdicts import FIXED, UsableRow, judge, mapped
from scripts.lib.data.splitting import UsableRows, joined, usable_rows
from scripts.lib.data.tally import Tally, printable

FACTS_SCHEMA = pa.schema(
    [
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("usable", pa.bool_()),
        ("ignored", pa.list_(pa.string())),
    ]
)
COMPRESSION = "lz4"


@dataclass(frozen=True, kw_only=True)
class FormattedBlock:
    """What became of the rows of a block, each without the others.

    Attributes:
        source: Their source.
        first: Number of the first in its source.
        dropped: Those that cannot be used, counted.
        misfits: The first of these, their columns mapped.
        rows: The others.
        signatures: Of these, where near duplicates are looked for.
        facts: Of every row: reason and detail, and the keys that were not used; packed.
        conversations: The table of those that can be used; packed.
    """

    source: str
    first: int
    dropped: Tally
    misfits: tuple[object, ...]
    rows: UsableRows
    signatures: bytes
    facts: bytes
    conversations: bytes


class Formatter:
    """Formats blocks.

    Args:
        spec: What decides the result.
    """

    def __init__(self, spec: FormatSpec) -> None:
        self._spec = spec
        self._signer = Signer(spec.near_duplicates) if spec.near_duplicates else None

    def __call__(self, block: RowBlock) -> FormattedBlock:
        """Return what becomes of the rows of a block."""
        dropped, misfits = Tally(), list[object]()
        facts: list[tuple[str, str, bool, tuple[str, ...]]] = []
        usable: list[tuple[int, UsableRow]] = []
        for number, record in enumerate(block.read(), start=block.first):
            try:
                row = judge(self._spec, record)
            except UnusableRow as error:
                names = error.names if isinstance(error, NamedFault) else ()
                dropped.drop(f"{block.source}:{number}", error.reason, error.detail, names)
                facts.append((error.reason, error.detail, False, ()))
                if len(misfits) < LOOKED_AT:
                    misfits.append(mapped(self._spec, record))
            else:
                usable.append((number, row))
                facts.append(
                    (row.fixed, FIXED.get(row.fixed, ""), True, tuple(map(printable, row.ignored)))
                )
        conversations = [row.conversation for _, row in usable]
        ids = [f"{block.source}:{number}" for number, _ in usable]
        columns = zip(*facts, strict=True) if facts else ([], [], [], [])
        kinds = zip(columns, FACTS_SCHEMA.types, strict=True)
        arrays = [array_of(list(values), kind) for values, kind in kinds]
        return FormattedBlock(
            source=block.source,
            first=block.first,
            dropped=dropped,
            misfits=tuple(misfits),
            rows=usable_rows(block.source, [(number, row.draw) for number, row in usable]),
            signatures=b"".join(
                self._signer.signature(one).tobytes() for one in conversations if self._signer
            ),
            facts=_packed(pa.Table.from_arrays(arrays, schema=FACTS_SCHEMA)),
            conversations=_packed(conversation_table(ids, conversations)),
        )


class WaitingBlocks:
    """Formatted blocks of which the tables wait in a folder until all rows have been seen.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._tables = (folder / "tables").open("w+b")
        self._signatures = folder / "signatures"
        self._blocks: list[tuple[str, int, int, int]] = []
        self._rows: list[UsableRows] = []

    def add(self, block: FormattedBlock) -> None:
        """Let a block wait."""
        self._tables.write(block.facts + block.conversations)
        self._blocks.append((block.source, block.first, len(block.facts), len(block.conversations)))
        self._rows.append(block.rows)
        if block.signatures:
            with self._signatures.open("ab") as file:
                file.write(block.signatures)

    def rows(self) -> UsableRows:
        """Return the usable rows of all blocks."""
        return joined(self._rows) if self._rows else usable_rows("train", [])

    def signatures(self, method: Mapping[str, Any] | None) -> Signatures | None:
        """Return the signatures of these rows as they lie in their file; None if there are none."""
        if method is None or not self._signatures.exists():
            return None
        count = int(method["permutations"])
        return np.memmap(self._signatures, dtype=np.uint32, mode="r").reshape(-1, count)

    def tables(self) -> Iterator[tuple[str, int, Iterable[tuple[Any, ...]], pa.Table]]:
        """Yield each block: source, number of its first row, facts of its rows, conversations."""
        self._tables.seek(0)
        for source, first, *sizes in self._blocks:
            facts, conversations = (_unpacked(self._tables.read(size)) for size in sizes)
            rows = zip(*(column.to_pylist() for column in facts.columns), strict=True)
            yield source, first, rows, conversations

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.close()


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
    with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
        stream.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _unpacked(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as stream:
        return stream.read_all()

"""Turn a raw dataset into conversations, split for training and held-out use.

Every raw row gets a verdict in the ledger: kept, fixed or dropped, with the reason. Rows are read
and judged in blocks, in as many processes as the job has threads (formatted_blocks.py); then it is
decided over all of them where each stands (splitting.py), and written. The bytes depend on neither
blocks nor processes.
"""

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scripts.lib.data.columns import absent_columns, absent_words, columns_asked
from scripts.lib.data.conversation_tables import CONVERSATION_SCHEMA
from scripts.lib.data.draws import Draw
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatted_blocks import Formatter, WaitingBlocks
from scripts.lib.data.misfits import Misfits
from scripts.lib.data.near_duplicates import Signatures, Signer
from scripts.lib.data.parquet import array_of
from scripts.lib.data.processes import in_processes
from scripts.lib.data.records import (
    SOURCES,
    RowFiles,
    UnusableRow,
    named,
    read_rows,
    source_files,
)
from scripts.lib.data.row_blocks import read_blocks
from scripts.lib.data.row_verdicts import judge, mapped
from scripts.lib.data.splitting import (
    SOURCE_ORDER,
    Decision,
    Repeated,
    UsableRows,
    decide,
    usable_rows,
)
from scripts.lib.data.table_writer import TableWriter
from scripts.lib.data.tally import Tally
from scripts.lib.errors import RecordError
from scripts.lib.progress import Count

__all__ = ["FormatSpec", "check_usable_rows", "format_chat"]

# So many rows are formatted in about the time in which a second process starts.
BLOCKS_AT_HOME = 20
LEDGER_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("split", pa.string()),
    ]
)


def format_chat(spec: FormatSpec, raw: Path, out: Path, processes: int = 1) -> dict[str, Any]:
    """Write the conversations of a raw dataset, split, with a ledger of every row.

    Args:
        spec: What decides the result.
        raw: Folder with `train` and perhaps `valid` and `test` files (jsonl, json, csv, parquet).
        out: Empty folder for `{train,valid,test}.parquet`, `ledger.parquet` and `summary.json`.
        processes: How many read the rows of a large dataset.

    Returns:
        The facts: `{"summary": {...}}`, with counts of rows and the dropped fraction (0-1).

    Raises:
        RecordError: If a file cannot be read, or no row is left to train on.
    """
    files = source_files(raw)
    check_columns(spec, files)
    tally, misfits = Tally(), Misfits(spec.layout)
    with (
        tempfile.TemporaryDirectory(prefix=".waiting-", dir=out) as folder,
        WaitingBlocks(Path(folder)) as waiting,
    ):
        blocks = chain.from_iterable(
            read_blocks(source, files[source], spec.limit)
            for source in SOURCE_ORDER
            if source in files
        )
        start = partial(Formatter, spec)
        count = Count("rows read")
        for block in in_processes(start, blocks, processes, at_home=BLOCKS_AT_HOME):
            tally.add(block.dropped)
            for record in block.misfits:
                misfits.note(record)
            waiting.add(block)
            count.add(block.dropped.verdicts.total() + len(block.rows))
        rows = waiting.rows()
        # No name keeps the signatures open: network drives cannot remove a file that is.
        decision = decide(spec, rows, files, waiting.signatures(spec.near_duplicates))
        _write(spec, waiting, rows, decision, tally, out)
    tally.notes |= _notes(spec, rows, decision)
    if not tally.splits["train"]:
        counts = tally.verdicts.total(), tally.splits
        raise RecordError(_nothing_left(raw, *counts, tally.problems(misfits)))
    summary = tally.summary()
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return {"summary": summary}


def _write(
    spec: FormatSpec,
    waiting: WaitingBlocks,
    rows: UsableRows,
    decision: Decision,
    tally: Tally,
    out: Path,
) -> None:
    """Write the ledger and the table of each split, and count."""
    count = Count("rows written", tally.verdicts.total() + len(rows))
    with ExitStack() as stack:
        ledger = stack.enter_context(_table(out, "ledger", LEDGER_SCHEMA))
        tables = {
            split: stack.enter_context(_table(out, split, CONVERSATION_SCHEMA)) for split in SOURCES
        }
        row = 0
        for source, first, facts, conversations in waiting.tables():
            begin, lines = row, []
            for number, (reason, detail, usable, ignored) in enumerate(facts, start=first):
                verdict, split = "dropped", ""
                if usable:
                    if repeated := decision.dropped.get(row):
                        reason, detail = repeated.reason, _words(spec, rows, repeated)
                        tally.drop(f"{source}:{number}", reason, detail)
                    else:
                        verdict = "fixed" if reason else "kept"
                        split = SOURCE_ORDER[decision.split[row]]
                        tally.keep(f"{source}:{number}", reason, split, ignored)
                    row += 1
                lines.append((source, number, verdict, reason, detail, split))
            ledger.add_table(_ledger_of(lines))
            count.add(len(lines))
            for number, split in enumerate(SOURCE_ORDER):
                own = np.flatnonzero(decision.split[begin:row] == number)
                if len(own):
                    whole = len(own) == conversations.num_rows
                    tables[split].add_table(conversations if whole else conversations.take(own))


def _ledger_of(lines: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*lines, strict=True) if lines else [()] * len(LEDGER_SCHEMA)
    arrays = [
        array_of(values, kind) for values, kind in zip(columns, LEDGER_SCHEMA.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=LEDGER_SCHEMA)


def _words(spec: FormatSpec, rows: UsableRows, repeated: Repeated) -> str:
    """Say which row one repeats, and how."""
    other = rows.id_of(repeated.of)
    if repeated.reason.startswith("duplicate"):
        return f"equal to {other}"
    if repeated.reason.startswith("near_duplicate"):
        return f"alike to {other}: about {repeated.similarity:.2f} of the shingles of both"
    return f"its {spec.split_by} is that of {other}"


def _notes(spec: FormatSpec, rows: UsableRows, decision: Decision) -> dict[str, str]:
    """Say how rows were split and compared, where that is not as ever."""
    notes = {}
    if spec.split_by is not None:
        groups = len(np.unique(rows.place[rows.grouped]))
        alone = int((~rows.grouped).sum())
        notes["split_by"] = (
            f"rows of one {spec.split_by} stand in one split: {int(rows.grouped.sum()):,} in"
            f" {groups:,} groups"
            + (f"; {alone:,} without a value are split by their content" if alone else "")
        )
    if spec.near_duplicates is not None:
        near = spec.near_duplicates
        notes["near_duplicates"] = (
            f"of rows that share {near['threshold']:g} of their shingles or more one is kept;"
            f" estimated by {near['method']} with {near['permutations']} permutations and shingles"
            f" of {near['shingle_words']} words"
        )
    for split, row in decision.nearest.items():
        name = f"{split}_fraction"
        notes[name] = (
            f"{getattr(spec, name):g} of the rows drew none for {split}, so the nearest is held"
            f" out: {rows.id_of(row)}{' with its group' if rows.grouped[row] else ''}"
        )
    return notes


def check_usable_rows(
    spec: FormatSpec, files: Mapping[str, RowFiles], wanted: Collection[str]
) -> None:
    """Refuse a dataset of which a split that something needs stays without a row.

    The look ends as soon as each has one, so that a dataset that will do costs few rows. What rows
    of one source repeat of another is not looked at.

    Args:
        spec: What decides the conversations.
        files: Source (`train`, `valid`, `test`) -> its files.
        wanted: Splits that must have a row.

    Raises:
        RecordError: One has none; for training with what is wrong with the rows.
    """
    check_columns(spec, files)
    for source in (name for name in SOURCES if name in files):
        drawn = source == "train"
        own = [one for one in SOURCES if one == source or (drawn and one not in files)]
        if here := [one for one in own if one in wanted]:
            _check_source(spec, files, source, here)


def _check_source(
    spec: FormatSpec, files: Mapping[str, RowFiles], source: str, wanted: Sequence[str]
) -> None:
    """Refuse a source whose rows leave one of *wanted* splits without any."""
    tally, misfits = Tally(), Misfits(spec.layout)
    signer = Signer(spec.near_duplicates) if spec.near_duplicates else None
    draws: list[tuple[int, Draw]] = []
    signatures: list[Signatures] = []

    def decision() -> Decision:
        known = np.array(signatures) if signatures else None
        return decide(spec, usable_rows(source, draws), files, known)

    number = -1
    for number, record in enumerate(islice(read_rows(files[source]), spec.limit)):
        try:
            row = judge(spec, record)
        except UnusableRow as error:
            tally.drop(f"{source}:{number}", error.reason, error.detail)
            misfits.note(mapped(spec, record))
            continue
        draws.append((number, row.draw))
        if signer:
            signatures.append(signer.signature(row.conversation))
        # It goes over all rows again, and so is done at 1, 2, 4, 8... of them.
        if len(draws).bit_count() == 1 and all(map(decision().count, wanted)):
            return
    counts = {split: decision().count(split) for split in SOURCES}
    for split in (one for one in wanted if not counts[one]):
        place, rows = named(files[source]), number + 1
        if split == "train" or not any(counts.values()):
            raise RecordError(_nothing_left(place, rows, counts, tally.problems(misfits)))
        raise RecordError(
            f"{place}: none of {rows} rows is held out as {split}; {_remedy(spec, split)}, or give"
            f" the dataset a {split} file"
        )


def _remedy(spec: FormatSpec, split: str) -> str:
    fraction = getattr(spec, f"{split}_fraction")
    if not fraction:
        return f"raise {split}_fraction, which is {fraction}"
    what = f"group by {spec.split_by}" if spec.split_by else "conversation"
    return f"there is but one {what}, which training keeps: add rows"


def check_columns(spec: FormatSpec, files: Mapping[str, RowFiles]) -> None:
    """Refuse a dataset that names a column which none of its rows has; the first often has all.

    Raises:
        RecordError: Names the column, those that are there and the one that may be meant.
    """
    asked = columns_asked(spec.columns, spec.split_by)
    rows = (row for place in files.values() for row in islice(read_rows(place), spec.limit))
    absent, there = absent_columns(asked, rows)
    if there and absent:
        raise RecordError(f"{named(files['train'])}: {absent_words(asked, absent, there)}")


def _nothing_left(raw: object, rows: int, splits: Mapping[str, int], problems: str) -> str:
    if not rows:
        return f"{raw} holds no rows; check the source and `limit`"
    if held_out := {split: count for split, count in splits.items() if count}:
        return (
            f"{raw}: no conversation of {rows} rows is left for training, all are held out"
            f" or repeat what is: {held_out}; lower valid_fraction and test_fraction or raise"
            " `limit`"
        )
    return f"{raw}: none of {rows} rows can be used: {problems}"


def _table(out: Path, name: str, schema: pa.Schema) -> TableWriter:
    return TableWriter(lambda _: out / f"{name}.parquet", schema)

"""Leave out the training conversations that hold a question of a benchmark."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.contamination.document import CONVERSATIONS_TABLE, SEARCHED
from scripts.lib.data.parquet import array_of, read_table, read_table_rows, table_of
from scripts.lib.errors import RecordError
from scripts.lib.files import is_hidden

REASON = "contaminated"
_DETAIL = "holds a question of a benchmark"
_NOTE = "these hold a question of a benchmark, and `on_contamination` of the run is `drop`"
_LEDGER, _SUMMARY = "ledger.parquet", "summary.json"


def drop_contaminated(chat: Path, searches: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write the dataset without the conversations in which a question was found.

    The files are those of `format_chat`, and the same bytes where no conversation has to go: what
    is made of them depends on which conversations are left, not on what was searched for.

    Args:
        chat: Folder of `format_chat`.
        searches: Folder of each `find_contamination` in that dataset, by artifact id.
        out: Existing empty folder.

    Returns:
        The facts: `{"summary"}`, that of the dataset now, and `{"holding"}`, search -> how many
        conversations it found.

    Raises:
        RecordError: No conversation is left to train on.
    """
    found = {
        id_: {row["conversation_id"] for row in read_table_rows(folder / CONVERSATIONS_TABLE)}
        for id_, folder in searches.items()
    }
    dropped: set[str] = set().union(*found.values())
    summary: dict[str, Any] = json.loads((chat / _SUMMARY).read_text(encoding="utf-8"))
    tables = [f"{split}.parquet" for split in SEARCHED]
    for name in sorted(place.name for place in chat.iterdir() if not is_hidden(place.name)):
        if name in tables:
            _copy_without(chat / name, dropped, out / name)
        elif name not in (_LEDGER, _SUMMARY) or not dropped:
            shutil.copyfile(chat / name, out / name)
    if dropped:
        summary = _without(summary, _rewrite_ledger(chat, dropped, out))
        (out / _SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if not summary["splits"]["train"]:
        raise RecordError(
            f"{chat}: every training conversation holds a question of a benchmark; take other rows,"
            " or write on_contamination: report"
        )
    return {"summary": summary, "holding": {id_: len(ids) for id_, ids in found.items()}}


def _copy_without(table: Path, dropped: set[str], out: Path) -> None:
    """Copy a table of conversations without some of them; leave it out where none remains."""
    ids = set(_ids(table))
    if not ids & dropped:
        shutil.copyfile(table, out)
        return
    if ids <= dropped:
        return
    with (
        pq.ParquetFile(table) as file,
        pq.ParquetWriter(out, file.schema_arrow, compression="zstd") as writer,
    ):
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            stays = [id_ not in dropped for id_ in rows.column("conversation_id").to_pylist()]
            writer.write_table(rows.filter(array_of(stays, pa.bool_())))


def _ids(table: Path) -> list[str]:
    found: list[str] = read_table(table, ["conversation_id"]).column(0).to_pylist()
    return found


def _rewrite_ledger(chat: Path, dropped: set[str], out: Path) -> list[dict[str, Any]]:
    """Write the ledger with its new verdicts; return the rows whose verdicts changed, as before."""
    with pq.ParquetFile(chat / _LEDGER) as file:
        schema = file.schema_arrow
    rows = read_table_rows(chat / _LEDGER)
    before = []
    for row in rows:
        if f"{row['source']}:{row['row']}" in dropped:
            before.append(dict(row))
            row |= {"verdict": "dropped", "reason": REASON, "detail": _DETAIL, "split": ""}
    pq.write_table(table_of(rows, schema), out / _LEDGER, compression="zstd")
    return before


def _without(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summary of a dataset without some of its rows."""
    verdicts = Counter(row["verdict"] for row in rows)
    splits = Counter(row["split"] for row in rows)
    reasons = Counter(summary["by_reason"])
    reasons.subtract(row["reason"] for row in rows if row["reason"])
    reasons[REASON] = len(rows)
    dropped = summary["dropped"] + len(rows)
    return {
        **summary,
        "kept": summary["kept"] - verdicts["kept"],
        "fixed": summary["fixed"] - verdicts["fixed"],
        "dropped": dropped,
        "by_reason": {reason: count for reason, count in sorted(reasons.items()) if count},
        "splits": {split: count - splits[split] for split, count in summary["splits"].items()},
        "dropped_fraction": dropped / summary["rows"],
        "notes": {**summary.get("notes", {}), REASON: _NOTE},
    }

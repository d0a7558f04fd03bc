"""Whatever rows hold, none ends the job, each is accounted for; every file keeps what it says."""

import csv
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data.conversation import Conversation
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatting import format_chat
from scripts.lib.data.layouts import LAYOUTS, fitting_layouts, read_row
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.row_verdicts import usable
from scripts.lib.errors import RecordError
from tests.unit.data.mangled import SEEDS, mangled_rows

SPEC = FormatSpec(
    format="auto",
    system=None,
    valid_fraction=0.2,
    test_fraction=0.0,
    split_seed=0,
    limit=None,
)


def formatted(folder, name, write):
    (folder / "raw").mkdir(parents=True)
    (folder / "out").mkdir()
    write(folder / "raw" / name)
    return format_chat(SPEC, folder / "raw", folder / "out")["summary"]


def test_every_mangled_row_is_accounted_for(tmp_path):
    rows = list(mangled_rows(1, 1500))
    lines = "\n".join(map(json.dumps, rows))
    summary = formatted(tmp_path, "train.jsonl", lambda path: path.write_text(lines))
    ledger = pq.read_table(tmp_path / "out/ledger.parquet").to_pylist()
    assert [line["row"] for line in ledger] == list(range(len(rows)))
    assert summary["rows"] == len(rows) == sum(Counter(x["verdict"] for x in ledger).values())
    assert all(line["reason"] and line["detail"] for line in ledger if line["verdict"] != "kept")
    kept = {f"train:{line['row']}" for line in ledger if line["verdict"] != "dropped"}
    written = {}
    for split in ("train", "valid"):
        for row in pq.read_table(tmp_path / f"out/{split}.parquet").to_pylist():
            written[row["conversation_id"]] = Conversation.from_row(row)
    assert written.keys() == kept and len(kept) > 200
    for name, conversation in written.items():
        own = usable(read_row(rows[int(name.partition(":")[2])], "auto").conversation, None)[0]
        assert conversation == own
        assert any(turn.role == "assistant" and turn.trained for turn in conversation.messages)


@pytest.mark.parametrize("layout", ["auto", *LAYOUTS])
@pytest.mark.parametrize("use", [None, "chosen"])
def test_no_layout_ends_in_anything_but_a_row_or_a_reason(layout, use):
    for row in mangled_rows(2, 600):
        try:
            read = read_row(row, layout, use)
        except UnusableRow as error:
            assert error.reason.isidentifier() and error.detail.isascii()
        else:
            assert all(isinstance(turn.content, str) for turn in read.conversation.messages)
            assert all(isinstance(key, str) for key in read.ignored)
        fitting_layouts(row)


def as_json(path, rows):
    path.write_text(json.dumps(rows))


def as_lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))


def as_texts(rows):
    return [
        {key: cell if isinstance(cell, str) else json.dumps(cell) for key, cell in row.items()}
        for row in rows
    ]


def as_parquet(path, rows):
    try:
        table = pa.Table.from_pylist(rows)
    except pa.ArrowInvalid:  # contents of several types stand in no column
        table = pa.Table.from_pylist(as_texts(rows))
    pq.write_table(table, path)


def as_csv(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(as_texts(rows))


@pytest.mark.parametrize("number", range(len(SEEDS) - 1))
def test_every_kind_of_file_says_the_same(tmp_path, number):
    """Nulls below the columns of a Parquet file go, so the seeds' own are taken out before."""
    rows = [json.loads(json.dumps(SEEDS[number]).replace('{"a": null}', '{"a": 1}'))]
    rows = [json.loads(json.dumps(row).replace("{{name}}", "Ada")) for row in rows]
    found = {}
    for write, name in (
        (as_json, "train.json"),
        (as_lines, "train.jsonl"),
        (as_parquet, "train.parquet"),
        (as_csv, "train.csv"),
    ):
        folder = tmp_path / name
        try:
            formatted(folder, name, lambda path, write=write: write(path, rows))
        except RecordError as error:
            found[name] = error.__class__
            continue
        (split,) = (path for path in (folder / "out").glob("*.parquet") if path.stem == "train")
        found[name] = [Conversation.from_row(row) for row in pq.read_table(split).to_pylist()]
    assert all(one == found["train.jsonl"] for one in found.values()), found

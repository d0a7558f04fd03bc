"""What formatting writes depends on the rows alone: on no block, and on no number of processes."""

import csv
import gzip
import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data import formatting, row_blocks
from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.conversation_tables import CONVERSATION_SCHEMA, conversation_table
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatting import format_chat
from scripts.lib.data.near_duplicates import METHOD
from scripts.lib.data.parquet import table_of
from scripts.lib.errors import RecordError
from tests.chat_samples import FORMAT


def rows_of_all_layouts():
    """Return rows of each layout, some of them repeated, unusable or with keys that are ignored."""
    turns = [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": [1, None]}}}
    schema = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for n in range(12):
        yield {"prompt": f"question {n % 9}", "completion": "é\n" * (n % 9 + 1), "score": n % 3}
        yield {"instruction": f"Add {n}.", "input": "1" * (n % 2), "output": "2", "thread": n // 3}
        yield {"conversations": [{"from": "human", "value": f"{n}"}, {"from": "gpt", "value": "b"}]}
        yield {"messages": [{"role": "system", "content": f"s{n}"}, *turns, turns[0]]}
        yield {"messages": [*turns, {"role": "user", "content": f"{n}", "name": "x"}, *turns[1:]]}
        yield {
            "messages": [
                {"role": "user", "content": f"call {n}"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "5", "tool_call_id": "c"},
                {"role": "assistant", "content": "<think>x</think>It is 5.", "weight": 1},
            ],
            "tools": [schema],
            "chat_template_kwargs": {"n": n},
        }
        yield {"messages": [{"role": "user", "content": f"{n}"}]}
        yield {"messages": [{"role": ("user", "bee")[n % 2], "content": "a"}, *turns[1:]]}


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows):
    return pa.Table.from_pylist([{"messages": row["messages"]} for row in rows])


def files():
    """Return file -> its bytes of a dataset for each way in which rows lie in files."""
    rows = list(rows_of_all_layouts())
    turned = [row for row in rows if "messages" in row and "tools" not in row]
    text, parquet, arrow = io.StringIO(), io.BytesIO(), io.BytesIO()
    writer = csv.DictWriter(text, ["prompt", "completion"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row for row in rows if "prompt" in row)
    pq.write_table(table(turned), parquet, row_group_size=5)
    with pa.ipc.new_stream(arrow, table(turned).schema) as stream:
        stream.write_table(table(turned), max_chunksize=7)
    broken = b'{"prompt": \n\n  \n"\xff"\n{"prompt": "\\ud83d", "completion": "x"}\n'
    return {
        "lines": {"train.jsonl": jsonl(rows) + broken, "test.jsonl": jsonl(rows[::7])},
        "packed": {"train.jsonl.gz": gzip.compress(jsonl(rows)), "valid.json": jsonl(rows[:9])},
        "array": {"train.json": json.dumps(rows).encode()},
        "csv": {"train.csv": text.getvalue().encode() + b"too,many,values\n"},
        "parquet": {"train.parquet": parquet.getvalue()},
        "arrow": {"train.arrow": arrow.getvalue()},
    }


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Format a dataset and return the digest of each file."""

    def digests(raw, rows_per_block, processes, **settings):
        monkeypatch.setattr(row_blocks, "ROWS_PER_BLOCK", rows_per_block)
        monkeypatch.setattr(formatting, "BLOCKS_AT_HOME", 1)
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        format_chat(FormatSpec(**(FORMAT | settings)), raw, out, processes=processes)
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()}

    return digests


def written(folder, content):
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


OPTIONS = {
    "valid_fraction": 0.2,
    "system": "Be brief.",
    "split_by": "thread",
    "near_duplicates": {"threshold": 0.8, **METHOD},
}


@pytest.mark.parametrize("name", files())
def test_blocks_leave_no_trace_in_what_is_written(digests, tmp_path, name):
    raw = written(tmp_path / "raw", files()[name])
    options = {"valid_fraction": 0.2} if name in ("csv", "parquet", "arrow") else OPTIONS
    for more in ({}, {"limit": 14}):
        whole = digests(raw, 500, 1, **options, **more)
        assert {"train.parquet", "ledger.parquet", "summary.json"} <= whole.keys()
        for size in (2, 7, 10):
            assert digests(raw, size, 1, **options, **more) == whole


@pytest.mark.parametrize("processes", [2, 3])
def test_the_bytes_depend_on_no_number_of_processes(digests, tmp_path, processes):
    for name, content in files().items():
        if processes == 2 or name == "lines":
            raw = written(tmp_path / name, content)
            options = {"valid_fraction": 0.2} if name in ("csv", "parquet", "arrow") else OPTIONS
            assert digests(raw, 6, processes, **options) == digests(raw, 500, 1, **options)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_that_is_cut_short_is_refused_in_the_same_words(digests, tmp_path, processes):
    content = files()["packed"]["train.jsonl.gz"]
    raw = written(tmp_path / "raw", {"train.jsonl.gz": content[:-20]})
    with pytest.raises(
        RecordError, match=r"train\.jsonl\.gz cannot be read: it cannot be unpacked"
    ):
        digests(raw, 6, processes)


def test_nothing_but_the_result_is_left_in_the_folder(digests, tmp_path):
    raw = written(tmp_path / "raw", files()["lines"])
    found = digests(raw, 500, 1, **OPTIONS)
    names = {"train.parquet", "valid.parquet", "test.parquet", "ledger.parquet", "summary.json"}
    assert set(found) == names


def test_the_table_of_conversations_is_that_of_their_rows():
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": "é"}}}
    one = Conversation(
        messages=(
            Message(role="user", content="Hi", name="Ada"),
            Message(role="assistant", content="", reasoning="hm", tool_calls=(call,)),
            Message(role="tool", content="5", tool_call_id="c"),
            Message(role="assistant", content="5", trained=False),
        ),
        tools=({"type": "function", "function": {"name": "f"}},),
        template_arguments={"enable_thinking": False},
    )
    two = Conversation(messages=(Message(role="user", content="Hi"),))
    for some in ([], [two], [one, two, one]):
        ids = [f"train:{number}" for number in range(len(some))]
        rows = [{"conversation_id": id_, **each.row()} for id_, each in zip(ids, some, strict=True)]
        assert conversation_table(ids, some).equals(table_of(rows, CONVERSATION_SCHEMA))

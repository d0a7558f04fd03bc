"""Ledgers, conversations and shards of real files say what the files say, checked by other code."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.rendering import RenderSpec, render_shards
from scripts.tools.tiny_model import make_tokenizer
from tests.chat_samples import FORMAT
from tests.ledger_check import faults

ALPACA = [
    {"instruction": "Add.", "input": "1+1", "output": "2"},
    {"instruction": "Who are you?", "input": "", "output": "I am {{name}}."},
    {"instruction": "Add.", "input": "1+1", "output": "2"},
]
CALLS = [
    {
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": '{"name": "look", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "rain"},
            {"from": "gpt", "value": "It rains."},
            {"from": "human", "value": "Thanks."},
        ],
        "tools": '[{"name": "look", "parameters": {}}]',
    }
]


def artifacts(file, folder, valid_fraction=0.0):
    """Make a file's conversations and ChatML shards with a byte-level tokenizer."""
    raw, chat, shards, model = (folder / name for name in ("raw", "chat", "shards", "model"))
    for one in (raw, chat, shards):
        one.mkdir()
    shutil.copy(file, raw / "train.json")
    placeholders = {"name": "Ada", "author": "the lab"}
    settings = FORMAT | {"valid_fraction": valid_fraction, "placeholders": placeholders}
    format_chat(FormatSpec(**settings), raw, chat)
    make_tokenizer().save_pretrained(model)
    spec = {"template": "chatml", "train_on": "assistant", "max_length_tokens": 20_000}
    render_shards(RenderSpec(on_too_long="drop", **spec), chat, model, shards)
    return file, chat, shards, placeholders


@pytest.fixture(params=[ALPACA, CALLS], ids=["alpaca", "calls"])
def made(request, tmp_path):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(request.param))
    return artifacts(file, tmp_path)


def test_a_file_and_what_is_made_of_it_agree(made):
    wrong, counts = faults(*made)
    assert wrong == [] and counts["rows trained"] == counts["rows"] - counts.get("dropped", 0)


def test_a_wrong_mask_verdict_and_answer_are_found(made):
    file, chat, shards, placeholders = made
    table = next(shards.glob("*-00000.parquet"))
    rows = pq.read_table(table)
    everything = [[1] * len(mask) for mask in rows["loss_mask"].to_pylist()]
    place = rows.column_names.index("loss_mask")
    masks = pa.array(everything, rows.schema.field("loss_mask").type)
    pq.write_table(rows.set_column(place, "loss_mask", masks), table)
    assert faults(*made)[0]
    pq.write_table(rows, table)
    assert not faults(*made)[0]
    other = file.read_text().replace("It rains", "It snows").replace('"2"', '"3"')
    file.write_text(other)
    assert faults(file, chat, shards, placeholders)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alpaca_en_demo", "glaive_toolcall_en_demo", "identity"])
def test_ledgers_of_real_files_are_right(tmp_path, name):
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA names no folder with real datasets")
    wrong, counts = faults(*artifacts(Path(folder, "sft", f"{name}.json"), tmp_path, 0.1))
    print(name, counts)
    assert wrong == [] and counts["not rendered"] == 0

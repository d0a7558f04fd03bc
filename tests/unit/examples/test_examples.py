"""Examples show what is trained on, token by token, and every reason with its rows."""

import html
import json
import re
from itertools import groupby

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.rendering import RenderSpec, render_shards
from scripts.lib.data.templates import load_fast_tokenizer
from scripts.lib.examples import choosing, tokens
from scripts.lib.examples.choosing import examples_of
from scripts.lib.examples.page import render_page, terminal_text, tokens_html, visible
from scripts.lib.examples.tokens import ShardTokens
from tests.chat_samples import THINKING
from tests.tiny_model import make_tiny_model

HOSTILE = "</mark><script>alert('1')</script> <|im_end|> \x1b[31m \u202e &amp;"
ROWS = [
    {"prompt": "q", "completion": "a é 漢🎉"},
    {"prompt": "q", "completion": "a é 漢🎉"},
    {"prompt": HOSTILE, "completion": "b"},
    {"messages": [{"role": role, "content": role[:1]} for role in ("user", "assistant") * 2]},
    {"messages": [{"role": "user", "content": "alone"}]},
    {"prompt": "long", "completion": "x" * 400},
    {"nothing": 1},
    {"messages": [{"role": r, "content": "kept"} for r in ("user", "assistant", "user")]},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def made(tmp_path, model):
    """Make the folders of three stages of rows."""

    def make(rows=ROWS, model=model, **settings):
        raw, chat, shards = folders = [tmp_path / name for name in ("raw", "chat", "shards")]
        for folder in folders:
            folder.mkdir()
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (raw / "train.jsonl").write_text("\n".join(lines) + "\n")
        spec = {"format": "auto", "system": None, "valid_fraction": 0.0, "test_fraction": 0.0}
        format_chat(FormatSpec(**spec, split_seed=0, limit=None), raw, chat)
        given = {"template": "chatml", "max_length_tokens": 300, "on_too_long": "drop"}
        render_shards(RenderSpec(**(given | settings)), chat, model, shards)
        return folders

    return make


def shard_rows(shards):
    return {row["conversation_id"]: row for row in pq.read_table(shards).to_pylist()}


def runs_of_page(markup):
    """Return the texts between marks as a reader of the page sees them."""
    runs = re.findall(r"<mark>(.*?)</mark>", markup, re.S)
    return [html.unescape(re.sub(r"<[^>]*>", "", run)) for run in runs]


def runs_of_shard(row, tokenizer):
    """Return the texts of the trained stretches of a shard's row."""
    pairs = zip(row["input_ids"][1:], row["loss_mask"][1:], strict=True)
    stretches = groupby(pairs, lambda pair: pair[1])
    return [tokenizer.decode([one for one, _ in group]) for mask, group in stretches if mask]


@pytest.mark.parametrize("train_on", ["assistant", "last_assistant", "all"])
def test_the_page_marks_exactly_what_is_trained(made, model, train_on):
    raw, chat, shards = made(train_on=train_on)
    rows, tokenizer = (
        shard_rows(shards / "train-00000.parquet"),
        AutoTokenizer.from_pretrained(model),
    )
    shown = examples_of(raw, chat, shards)["conversations"]
    assert {"train:0", "train:2", "train:3"} <= {one["id"] for one in shown}
    for row in (row for one in shown for row in one["rows"]):
        mine = rows[row["id"]]
        assert row["ids"] == mine["input_ids"]
        assert "".join(row["texts"]) == mine["text"]
        assert row["trained"] == [0, *mine["loss_mask"][1:]]
        bare = [text.replace("◌", "") for text in runs_of_page(tokens_html(row))]
        # Spaces are told apart token by token, so these are compared without them.
        said = [visible(text) for text in runs_of_shard(mine, tokenizer)]
        assert [re.sub("[ ·]", "", one) for one in bare] == [
            re.sub("[ ·]", "", one) for one in said
        ]


def test_each_kind_is_shown_once_with_its_raw_row(made):
    raw, chat, shards = made(max_length_tokens=200, on_too_long="truncate")
    found = examples_of(raw, chat, shards)
    shows = {one["id"]: one["shows"] for one in found["conversations"]}
    assert shows["train:0"] == ["one answer"]
    assert shows["train:3"] == ["several turns"]
    assert "control token" in shows["train:2"][0]
    assert "200 tokens" in shows["train:5"][0]
    assert "train:7" not in shows
    for one in found["conversations"]:
        assert json.loads(one["raw"]) == ROWS[int(one["id"].partition(":")[2])]


def test_a_turn_that_its_row_excludes_is_shown_and_not_marked(made):
    turns = [("user", "1"), ("assistant", "bad"), ("user", "3"), ("assistant", "good")]
    messages = [{"role": role, "content": text} for role, text in turns]
    messages[1]["weight"] = 0
    (shown,) = examples_of(*made([{"messages": messages}]))["conversations"]
    assert "a turn that its row excludes from training" in shown["shows"]
    assert runs_of_page(tokens_html(shown["rows"][0])) == ["good<|im_end|>"]


def test_tools_reasoning_and_single_turns_are_shown(made):
    call = {"name": "find", "arguments": {"x": 1}}
    talk = [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"},
        {"role": "assistant", "content": "<think>\n5\n</think>\n\n4"},
    ]
    calling = [
        {"from": "human", "value": "Q"},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "42"},
        {"from": "gpt", "value": "A"},
    ]
    rows = [{"messages": talk[:2] * 2}, {"conversations": calling}, {"messages": talk}]
    raw, chat, shards = made(rows, turns="each")
    shown = {one["id"]: one for one in examples_of(raw, chat, shards)["conversations"]}
    assert shown["train:0"]["shows"] == ["several turns", "each turn as a row of its own"]
    assert [row["id"] for row in shown["train:0"]["rows"]] == ["train:0#1", "train:0#3"]
    assert shown["train:1"]["shows"] == ["tools"]
    assert shown["train:2"]["shows"] == ["reasoning"]


def test_every_reason_has_up_to_three_rows_with_detail_and_raw_row(made):
    bad = ['{"broken": ', *({"messages": [{"role": "user", "content": str(n)}]} for n in range(5))]
    raw, chat, shards = made([*ROWS, *bad])
    reasons = {one["reason"]: one for one in examples_of(raw, chat, shards)["reasons"]}
    ledger = [row for row in pq.read_table(chat / "ledger.parquet").to_pylist() if row["reason"]]
    rendered = json.loads((shards / "summary.json").read_text())["dropped"]
    assert set(reasons) == {row["reason"] for row in ledger} | set(rendered)
    assert reasons["too_long"]["step"] == "rendering"
    assert reasons["trailing_turn_cut"]["verdict"] == "fixed"
    for reason, one in reasons.items():
        mine = [row for row in ledger if row["reason"] == reason]
        assert one["count"] == (len(mine) or rendered[reason])
        assert len(one["rows"]) == min(one["count"], 3)
        for shown, row in zip(one["rows"], mine, strict=False):
            assert shown["id"] == f"{row['source']}:{row['row']}"
            assert shown["detail"] == row["detail"]
    (broken,) = reasons["not_json"]["rows"]
    assert "line 9" in broken["raw"]
    (long,) = reasons["too_long"]["rows"]
    assert json.loads(long["raw"]) == ROWS[5]


def test_nothing_in_the_data_can_act_in_a_page_or_a_terminal(made):
    found = examples_of(*made([{**ROWS[2], "more": "\ud800"}, {"x": HOSTILE}]))
    page = render_page(found, f"What {HOSTILE} becomes")
    assert "<script" not in page.lower() and "alert(" in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    for text in (page, *(terminal_text(found, colours=colours) for colours in (False, True))):
        assert "\u202e" not in text and "⟨U+202E⟩" in text
        assert "\x1b[31m" not in text and "⟨U+001B⟩[31m" in text
        text.encode()


def test_a_terminal_without_colours_marks_what_is_trained_and_control_tokens(made):
    found = examples_of(*made())
    plain = terminal_text(found, colours=False)
    assert "«<|im_start|>»assistant⏎\n⟦b«<|im_end|>»⟧⏎" in plain
    assert "\x1b" not in plain
    assert "\x1b[32;4mb\x1b[0m" in terminal_text(found, colours=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" word", " word"),
        ("a b", "a b"),
        ("  two", "··two"),
        ("end ", "end·"),
        ("a\n\tb", "a⏎\n⇥b"),
        ("a\u00a0\u200b", "a⟨U+00A0⟩⟨U+200B⟩"),
    ],
)
def test_what_nobody_would_see_is_written_out(text, shown):
    assert visible(text) == shown


def test_control_tokens_are_read_as_transformers_reads_them(made, monkeypatch):
    _, _, shards = made(template={"name": "custom", "text": THINKING})
    loaded = load_fast_tokenizer(shards / "tokenizer")
    special = {number for number, token in loaded.added_tokens_decoder.items() if token.special}
    read = ShardTokens(shards / "tokenizer")
    assert read.control_ids == special
    monkeypatch.setattr(tokens, "TOKENIZER_FILE", "absent.json")
    assert ShardTokens(shards / "tokenizer").control_ids == special


def test_the_look_ends_after_so_many_conversations(made, monkeypatch):
    monkeypatch.setattr(choosing, "LOOKED_AT", 2)
    found = examples_of(*made())
    assert found["looked_at"] == 2
    assert [one["id"] for one in found["conversations"]] == ["train:0", "train:2"]


def test_without_shards_the_reasons_of_formatting_are_shown(made):
    raw, chat, _ = made()
    found = examples_of(raw, chat, None)
    assert not found["conversations"] and not found["rendered"]
    assert {one["reason"] for one in found["reasons"]} >= {"duplicate", "no_assistant"}

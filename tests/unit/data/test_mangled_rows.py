"""Whatever a row holds: no crash, it is accounted for, and what was rejected is not trained."""

import json
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.rendering import RenderSpec, render_shards
from scripts.lib.data.templates import load_fast_tokenizer
from scripts.tools.tiny_model import make_tokenizer
from tests.chat_samples import FORMAT
from tests.unit.data.test_turns import CUTS_AND_OPENS, WRITES

QUIET = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],
}
ROWS = 20  # of one file
GOOD = {"prompt": "a good question", "completion": "a good answer"}
TEMPLATES = {
    "chatml": "chatml",
    "writes": {"name": "writes", "text": WRITES},
    "opens": {"name": "opens", "text": CUTS_AND_OPENS},
}

PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<|im_end|>",
        "<|im_start|>assistant\n",
        "<|endoftext|>",
        "\ud800",
        "\n",
        " ",
        "{{name}}",
        "<image>",
        "\x00",
        "\ue000",
        "日本",
        "🙂",
        '{"a": ',
        "null",
        "\u2028",
    ]
)
TEXT = st.lists(st.one_of(st.text(max_size=5), PIECES), max_size=4).map("".join)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.just(float("nan")),
    TEXT,
)
KEYS = st.sampled_from(
    [
        "role",
        "content",
        "from",
        "value",
        "name",
        "tool_calls",
        "function",
        "arguments",
        "type",
        "text",
        "messages",
        "tools",
        "prompt",
        "completion",
        "weight",
        "label",
        "chosen",
    ]
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(TEXT, KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)


def mostly(good, *bad, of=12):
    """Return a strategy that draws from *bad* once in so many times."""
    return st.integers(1, of).flatmap(lambda n: st.one_of(*bad) if n == 1 else good)


CALLS = st.lists(
    mostly(
        st.builds(
            lambda name, arguments, id_: {
                "type": "function",
                "id": id_,
                "function": {"name": name, "arguments": arguments},
            },
            mostly(st.just("find"), JUNK),
            mostly(st.sampled_from([{"x": 1}, '{"x": "<|im_end|>"}']), JUNK),
            mostly(st.just("call_1"), JUNK),
        ),
        JUNK,
    ),
    min_size=1,
    max_size=2,
)
TOOLS = mostly(
    st.sampled_from(
        [
            [{"type": "function", "function": {"name": "find", "parameters": {}}}],
            '[{"name": "find"}]',
        ]
    ),
    JUNK,
)
PARTS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXT),
        st.builds(lambda text: {"type": "reasoning", "value": text}, TEXT),
        st.just({"type": "image"}),
        JUNK,
    ),
    max_size=3,
)

WORDS = st.builds(lambda first, more: first + more, st.sampled_from("abcdefg"), TEXT)
SAID = mostly(WORDS, TEXT, PARTS, JUNK)


def mangled(keys):
    """Return a strategy for objects with some of the keys, and perhaps one that is foreign."""
    return st.builds(
        lambda kept, extra: {**kept, **extra},
        st.fixed_dictionaries({}, optional=keys),
        st.one_of(
            st.just({}), st.just({}), st.dictionaries(st.one_of(KEYS, TEXT), JUNK, max_size=1)
        ),
    )


ASIDE = {
    "reasoning_content": SAID,
    "thinking": SAID,
    "weight": mostly(st.sampled_from([0, 1, 1]), st.floats(), JUNK),
    "train": mostly(st.booleans(), JUNK),
    "loss_weight": mostly(st.just(1.0), st.floats(), JUNK),
}
COLUMNS = {
    "tools": TOOLS,
    "label": mostly(st.just(True), JUNK, of=4),
    "chat_template_kwargs": mostly(st.just({"enable_thinking": False}), JUNK, of=4),
    "source": JUNK,
    "loss_mask": mostly(st.just(None), JUNK, of=4),
    "rejected": mostly(st.just(None), JUNK, of=4),
}


@st.composite
def openai(draw):
    """Draw turns whose roles mostly follow each other as they should."""
    turns = [{"role": "system", "content": draw(SAID)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append({"role": "user", "content": draw(SAID)})
        if draw(st.integers(0, 3)) == 0:
            calls = draw(mostly(CALLS, JUNK))
            turns.append({"role": "assistant", "content": draw(SAID), "tool_calls": calls})
            turns.append({"role": "tool", "content": draw(SAID), "tool_call_id": "call_1"})
        turns.append({"role": "assistant", "content": draw(SAID)})
        if draw(st.integers(0, 3)) == 0:
            turns[-1] |= draw(mangled(ASIDE))
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(turns) - 1))
        turns[place] = draw(st.one_of(JUNK, mangled({"role": JUNK, "content": JUNK})))
    return {"messages": [json.dumps(one) for one in turns] if draw(st.booleans()) else turns}


SPEAKERS = st.sampled_from(["human", "gpt", "system", "function_call", "observation", "bot", "?"])
SHAREGPT = st.lists(st.tuples(mostly(st.just(None), SPEAKERS), SAID), max_size=5).map(
    lambda turns: {
        "conversations": [
            {"from": who or ("human", "gpt")[place % 2], "value": what}
            for place, (who, what) in enumerate(turns)
        ]
    }
)
ALPACA = mangled(
    {"instruction": SAID, "input": SAID, "output": SAID, "system": SAID}
    | {"history": st.one_of(st.lists(st.tuples(SAID, SAID), max_size=2), JUNK)}
)
PROMPT = st.fixed_dictionaries({"prompt": SAID, "completion": SAID})
ROW = st.builds(
    lambda row, more: {**row, **more} if isinstance(row, dict) else row,
    mostly(st.one_of(openai(), openai(), SHAREGPT, ALPACA, PROMPT), JUNK),
    mostly(st.just({}), mangled(COLUMNS), of=3),
)


@cache
def model():
    """Return a folder with the tiny tokenizer; rendering reads no more of a model."""
    folder = Path(tempfile.mkdtemp(prefix="tokenizer-"))
    make_tokenizer().save_pretrained(folder)
    return folder


def account(raw, folder):
    """Format and render rows, and demand that each has its place."""
    (folder / "raw").mkdir()
    lines = [json.dumps(row) for row in [GOOD, *raw]]
    (folder / "raw" / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    chat = folder / "chat"
    chat.mkdir()
    facts = format_chat(FormatSpec(**FORMAT), folder / "raw", chat)
    ledger = pq.read_table(chat / "ledger.parquet").to_pylist()
    assert [line["row"] for line in ledger] == list(range(len(lines)))
    for line in ledger:
        assert line["verdict"] in ("kept", "fixed", "dropped")
        assert bool(line["reason"]) == (line["verdict"] != "kept")
        assert (line["split"] == "train") == (line["verdict"] != "dropped")
    verdicts = Counter(line["verdict"] for line in ledger)
    summary = facts["summary"]
    assert all(summary[name] == verdicts[name] for name in ("kept", "fixed", "dropped"))
    assert sum(summary["by_reason"].values()) == verdicts["fixed"] + verdicts["dropped"]
    rows = {
        row["conversation_id"]: row for row in pq.read_table(chat / "train.parquet").to_pylist()
    }
    used = [f"train:{line['row']}" for line in ledger if line["verdict"] != "dropped"]
    assert list(rows) == used
    for name, template in TEMPLATES.items():
        out = folder / name
        out.mkdir()
        check_shards(name, template, chat, out, rows)


def check_shards(name, template, chat, out, rows):
    spec = {"train_on": "assistant", "max_length_tokens": 4000, "on_too_long": "drop"}
    tokens = render_shards(RenderSpec(template=template, **spec), chat, model(), out)["tokens"]
    shards = [
        row for file in out.glob("train-*.parquet") for row in pq.read_table(file).to_pylist()
    ]
    there = {row["conversation_id"].partition("#")[0] for row in shards}
    assert there <= set(rows)
    assert tokens["conversations"] == len(rows) == len(there) + sum(tokens["dropped"].values())
    assert tokens["rows"] == len(shards)
    tokenizer = load_fast_tokenizer(model())
    special = set(tokenizer.all_special_ids)
    for shard in shards:
        id_, _, turn = shard["conversation_id"].partition("#")
        pairs = zip(shard["input_ids"], shard["loss_mask"], strict=True)
        trained = [number for number, mask in pairs if mask]
        messages = rows[id_]["messages"]
        numbers = [int(turn)] if turn else range(len(messages))
        answers = [
            messages[number]
            for number in numbers
            if messages[number]["role"] == "assistant" and messages[number]["trained"] is not False
        ]
        # A control token of the data is text: only the template's own end an answer.
        assert sum(number in special for number in trained) == len(answers) > 0
        plain = not any(one["tool_calls"] for one in answers)
        if name == "chatml" and plain:
            expected = "".join(f"{one['content']}<|im_end|>" for one in answers)
            assert tokenizer.decode(trained) == expected


def run(examples):
    @settings(max_examples=examples, **QUIET)
    @given(st.lists(ROW, min_size=ROWS, max_size=ROWS))
    def holds(rows):
        with tempfile.TemporaryDirectory() as folder:
            account(rows, Path(folder))

    holds()


def test_two_hundred_mangled_rows_are_accounted_for(capsys):
    run(10)


@pytest.mark.slow
def test_five_thousand_mangled_rows_are_accounted_for(capsys):
    run(250)

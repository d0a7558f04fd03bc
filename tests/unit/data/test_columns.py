"""Columns of any name become those that layouts read, and what is not there is told."""

import csv
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.lib.artifacts.graph import Graph
from scripts.lib.config.load import load_config
from scripts.lib.config.sources import HubDataset, LocalDataset, LocalSplitDataset
from scripts.lib.data.columns import OPTIONAL, map_columns
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.records import UnusableRow
from scripts.lib.errors import ConfigError, RecordError
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.plan.sources import add_chat, add_raw

SAID = [("user", "2+2?"), ("assistant", "4")]


def plan(folder, rows, **settings):
    """Plan a dataset of *rows*; return the spec of its conversations."""
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sources = LocalSources((folder,), HashMemory(folder / "memory.json"))
    dataset = LocalDataset(path="rows.jsonl", valid_fraction=0, **settings)
    graph = Graph(lambda *_: "0", {"datasets": "1", "pyarrow": "1"})
    chat = add_chat(graph, dataset, add_raw(graph, sources, dataset, {"train"}))
    return graph.artifacts[chat].spec


def format_rows(folder, rows, spec):
    """Return the turns of each conversation, and the reason of each row that was dropped."""
    raw, out = folder / "raw", folder / "out"
    raw.mkdir()
    out.mkdir()
    (raw / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    format_chat(FormatSpec(**spec), raw, out)
    turns = [
        [(turn["role"], turn["content"]) for turn in row["messages"]]
        for row in pq.read_table(out / "train.parquet").to_pylist()
    ]
    ledger = pq.read_table(out / "ledger.parquet").to_pylist()
    return turns, [line["reason"] for line in ledger if line["verdict"] == "dropped"]


def tried(folder, row, **settings):
    """Return the turns of one row that goes through planning and formatting."""
    [turns], _ = format_rows(folder, [row], plan(folder, [row], **settings))
    return turns


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"question": "2+2?", "answer": "4"}, {"prompt": "question", "completion": "answer"}),
        ({"q": "2+2?", "a": 4}, {"prompt": "q", "completion": "a"}),
        ({"q": "2+2?", "output": "4"}, {"instruction": "q"}),
        ({"qa": {"q": "2+2?", "as": ["4", "5"]}}, {"prompt": "qa.q", "completion": "qa.as.0"}),
        ({"qa.q": "2+2?", "a": "4"}, {"prompt": "qa.q", "completion": "a"}),
        ({"x": 2, "a": 4}, {"prompt": "{x}+{x}?", "completion": "{a}"}),
        (
            {"dialog": [{"role": r, "content": c} for r, c in SAID]},
            {"messages": "dialog"},
        ),
        ({"dialog": [{"from": r, "value": c} for r, c in SAID]}, {"messages": "dialog"}),
        (
            {"ask": [{"role": "user", "content": "2+2?"}], "a": "4"},
            {"prompt": "ask", "completion": "a"},
        ),
    ],
)
def test_columns_of_other_names_and_texts_of_several_are_read(tmp_path, row, columns):
    assert tried(tmp_path, row, columns=columns) == SAID


def test_a_text_of_several_columns_keeps_doubled_braces_and_line_breaks(tmp_path):
    row = {"question": "Who?", "context": "A {story}.", "answer": "Ann"}
    columns = {
        "prompt": "Question: {question}\nContext: {{{context}}}",
        "completion": "{answer}",
        "system": "Answer as {{name}}.{question}",
    }
    assert tried(tmp_path, row, columns=columns) == [
        ("system", "Answer as {name}.Who?"),
        ("user", "Question: Who?\nContext: {A {story}.}"),
        ("assistant", "Ann"),
    ]


def test_an_input_that_a_row_lacks_is_left_out_and_a_question_that_it_lacks_drops_it(tmp_path):
    rows = [
        {"q": "Add", "ctx": "2+2", "a": "4"},
        {"q": "Say hi", "ctx": None, "a": "Hi"},
        {"q": None, "ctx": "1", "a": "One"},
        {"ctx": "1", "a": "Two"},
        {"q": "  ", "ctx": "1", "a": "Three"},
        {"q": {"deep": 1}, "ctx": "1", "a": "Four"},
    ]
    columns = {"instruction": "Do: {q}", "input": "With {ctx}", "output": "a"}
    turns, dropped = format_rows(tmp_path, rows, plan(tmp_path, rows, columns=columns))
    assert turns == [
        [("user", "Do: Add\nWith 2+2"), ("assistant", "4")],
        [("user", "Do: Say hi"), ("assistant", "Hi")],
    ]
    assert dropped == [*["missing_field"] * 3, "content_is_not_text"]


def test_what_is_not_mapped_is_read_under_its_own_name_and_stays_for_others_to_see():
    row = {"q": "2+2?", "completion": "4", "system": "S", "weight": 0, "messages": []}
    mapped = map_columns(row, {"prompt": "q"}, None)
    assert mapped == {k: v for k, v in row.items() if k != "q"} | {"prompt": "2+2?"}


def test_what_a_mapping_hides_is_told_as_not_used(tmp_path):
    rows = [
        {"q": "2+2?", "completion": "five", "a": "4", "meta": {"s": {"t": "Be"}, "note": "n"}},
        {"q": "3+3?", "a": "6", "meta": {"s": {"t": "Be"}}, "rating": 3},
    ]
    columns = {"prompt": "q", "completion": "a", "system": "meta.s.t"}
    spec = plan(tmp_path, rows, columns=columns)
    turns, _ = format_rows(tmp_path, rows, spec)
    assert turns[0] == [("system", "Be"), *SAID]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["ignored_keys"] == {"completion (of the row)": 1, "meta.note": 1, "rating": 1}


def test_other_turns_of_a_row_are_not_taken_for_the_mapped_columns(tmp_path):
    row = {"messages": [{"role": r, "content": c} for r, c in SAID], "q": "Hi", "a": "Ho"}
    said = tried(tmp_path, row, columns={"prompt": "q", "completion": "a"})
    assert said == [("user", "Hi"), ("assistant", "Ho")]


TAGGED = [{"speaker": "Q", "utterance": "2+2?"}, {"speaker": "A", "utterance": "4"}]
TAGS = {"role": "speaker", "content": "utterance", "user": ["Q", "Me"], "assistant": "A"}


@pytest.mark.parametrize("turns", [TAGGED, json.dumps(TAGGED)])
@pytest.mark.parametrize("column", ["convs", "conversations"])
def test_turns_with_keys_and_speakers_of_their_own_are_read(tmp_path, column, turns):
    columns = {"columns": {"messages": column}} if column == "convs" else {}
    assert tried(tmp_path, {column: turns}, tags=TAGS, **columns) == SAID


def test_speakers_alone_can_be_named_in_either_usual_form(tmp_path):
    tags = {"user": "Q", "assistant": "A"}
    for number, (role, content) in enumerate((("from", "value"), ("role", "content"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        row = {"messages": [{role: "Q", content: "2+2?"}, {role: "A", content: "4"}]}
        assert tried(folder, row, tags=tags) == SAID


@pytest.mark.parametrize("layout", ["messages", "sharegpt"])
def test_a_layout_that_is_given_reads_tagged_turns_too(tmp_path, layout):
    assert tried(tmp_path, {"conversations": TAGGED}, tags=TAGS, format=layout) == SAID


def test_function_calls_with_a_speaker_of_their_own_are_read(tmp_path):
    said = [("Q", "2+2?"), ("CALL", '{"name": "add", "arguments": {"n": 2}}'), ("RES", "4")]
    turns = [{"speaker": who, "utterance": what} for who, what in (*said, ("A", "Four."))]
    tags = TAGS | {"function_call": "CALL", "tool": "RES"}
    assert tried(tmp_path, {"conversations": turns}, tags=tags) == [
        ("user", "2+2?"),
        ("assistant", ""),
        ("tool", "4"),
        ("assistant", "Four."),
    ]


def test_a_turn_without_the_key_of_its_speaker_is_dropped_with_that_key(tmp_path):
    rows = [{"messages": TAGGED}, {"messages": [{"role": "Q", "utterance": "Hi"}, *TAGGED[1:]]}]
    turns, dropped = format_rows(tmp_path, rows, plan(tmp_path, rows, tags=TAGS))
    assert (turns, dropped) == ([SAID], ["unknown_role"])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_column_that_no_row_has_is_found_at_planning_and_in_the_job(tmp_path, kind):
    rows = [{"question": "2+2?", "context": "x", "answer": "4"}] * 3
    place = tmp_path / f"train.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), place)
    elif kind == "csv":
        with place.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        place.write_text("\n".join(map(json.dumps, rows)))
    columns = {"instruction": "question", "input": "{contxt}", "output": "answer"}
    dataset = LocalSplitDataset(files={"train": place.name}, columns=columns)
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    graph = Graph(lambda *_: "0", {"datasets": "1", "pyarrow": "1"})
    words = (
        r"no row has the column `contxt`, which `columns.input` names \(did you mean `context`\?\);"
        " their columns are answer, context, question"
    )
    with pytest.raises(ConfigError, match=words):
        add_raw(graph, sources, dataset, {"train"})
    raw = add_raw(graph, sources, dataset)
    spec = graph.artifacts[add_chat(graph, dataset, raw)].spec
    (tmp_path / "raw").mkdir()
    place.rename(tmp_path / "raw" / place.name)
    with pytest.raises(RecordError, match=words):
        format_chat(FormatSpec(**spec), tmp_path / "raw", tmp_path)


def test_rows_of_the_hub_are_mapped_by_the_job_that_formats_them(tmp_path):
    """They come as Parquet, whose structs are paths too."""
    columns = {"prompt": "qa.q", "completion": "{qa.a}"}
    dataset = HubDataset(hub="a/b", revision="0" * 40, columns=columns, valid_fraction=0)
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    graph = Graph(lambda *_: "0", {"datasets": "1", "pyarrow": "1"})
    raw = add_raw(graph, sources, dataset, {"train"})
    spec = graph.artifacts[add_chat(graph, dataset, raw)].spec
    (tmp_path / "raw").mkdir()
    rows = pa.Table.from_pylist([{"qa": {"q": "2+2?", "a": "4"}}])
    pq.write_table(rows, tmp_path / "raw/train.parquet")
    format_chat(FormatSpec(**spec), tmp_path / "raw", tmp_path)
    [row] = pq.read_table(tmp_path / "train.parquet").to_pylist()
    assert [(turn["role"], turn["content"]) for turn in row["messages"]] == SAID


def test_a_column_that_only_a_late_row_has_is_there(tmp_path):
    rows = [{"q": "Hi", "a": "Ho"}] * 50 + [{"q": "Add", "ctx": "1", "a": "2"}]
    columns = {"instruction": "q", "input": "ctx", "output": "a"}
    assert plan(tmp_path, rows, columns=columns)["columns"] == columns
    with pytest.raises(ConfigError, match="no row has the column `ctx`"):
        plan(tmp_path, rows, columns=columns, limit=50)


@pytest.mark.parametrize(
    ("row", "proposed"),
    [
        ({"question": "2+2?", "answer": "4"}, "columns: {prompt: question, completion: answer}"),
        ({"id": 1, "Query": "", "Answer": ""}, "columns: {prompt: Query, completion: Answer}"),
        ({"user_input": "", "bot_reply": ""}, "{prompt: user_input, completion: bot_reply}"),
        ({"dialog": []}, "columns: {messages: dialog}"),
        ({"text": "Once upon"}, "plain text has no turns"),
        ({"id": 0, "q": "", "ans": ""}, "{prompt: q, completion: ans}"),
        ({"x": 1, "y": 2}, "columns: {prompt: <what is asked>, completion: <the answer>}"),
    ],
)
def test_unknown_columns_are_answered_with_a_mapping(tmp_path, row, proposed):
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path, [row])
    assert proposed in str(caught.value)
    assert f"they have the columns {', '.join(row)};" in str(caught.value)


def test_what_is_proposed_can_be_written_and_then_works(tmp_path):
    row = {"question": "2+2?", "answer": "4"}
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path, [row])
    words = str(caught.value).partition("`columns: {")[2].partition("}`")[0]
    columns = dict(pair.split(": ") for pair in words.split(", "))
    assert tried(tmp_path, row, columns=columns) == SAID


def error_of(**settings):
    config = {
        "models": {"m": {"path": "m"}},
        "datasets": {"d": {"path": "d.jsonl", **settings}},
        "runs": {"r": {"model": "m", "dataset": "d"}},
        "benchmarks": {"b": {"kind": "mmlu", "path": "b"}},
    }
    with pytest.raises(ConfigError) as caught:
        load_config(config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"text": "body"}}, r"columns.text: 'body' has no turns"),
        ({"columns": {"prompt": "{q"}}, r"columns.prompt: .*no format string"),
        ({"columns": {"prompt": "{q:>3}"}}, r"columns.prompt: .*stands alone in its braces"),
        ({"columns": {"prompt": "Answer!{{}}"}}, r"columns.prompt: .*holds no column"),
        ({"columns": {"messages": "{a}"}}, r"columns.messages: .*list is needed"),
        ({"columns": {"prompt": "q", "output": "a"}}, r"columns.output: .*two layouts"),
        ({"columns": {"promt": "q"}}, r"columns.promt: unknown key; did you mean 'prompt'"),
        ({"columns": {"prompt": "q"}, "format": "alpaca"}, r"format: .*prompt_completion or auto"),
        ({"tags": {"user": "A", "assistant": ["B", "A"]}}, r"tags.assistant: .*name of user"),
        ({"tags": {"user": "A"}, "format": "alpaca"}, r"tags: .*no list of turns"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused_with_its_key(settings, words):

    assert re.search(rf"datasets\.d\.{words}", error_of(**settings)), error_of(**settings)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("role", "from", "speaker", "q", "0", "")), inner, max_size=3
        )
    ),
    max_leaves=8,
)
NAMES = ("messages", "prompt", "completion", "q", "a", "q.a", "system", "conversations")


@settings(max_examples=300, deadline=None)
@given(
    row=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5) | VALUES,
    columns=st.none()
    | st.dictionaries(
        st.sampled_from(("prompt", "completion", "system")),
        st.sampled_from(("q", "q.a", "q.0", "a.q.speaker", "{q}: {a.0}", "{{{q}}}")),
        min_size=1,
    ),
    tags=st.none() | st.just(TAGS) | st.just({"function_call": "CALL", "role": "q.a"}),
)
def test_whatever_a_row_holds_it_is_mapped_or_has_its_reason(row, columns, tags):
    try:
        mapped = map_columns(row, columns, tags)
    except UnusableRow as error:
        assert error.reason in ("missing_field", "content_is_not_text", "unknown_role")
        return
    if isinstance(row, dict) and columns:
        assert {key for key in columns if key not in OPTIONAL} <= mapped.keys()

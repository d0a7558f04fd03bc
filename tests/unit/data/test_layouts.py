"""Raw records of every layout become the same kind of conversation."""

import json
from pathlib import Path
from typing import get_args

import pytest

from scripts.lib.config.sources import LocalDataset
from scripts.lib.data.conversation import Conversation
from scripts.lib.data.layouts import LAYOUTS, Format, LayoutName, detect_layout, to_conversation
from scripts.lib.data.records import UnusableRow

DATA = Path(__file__).parents[2] / "data" / "chat"
TURNS = [("user", "Hi"), ("assistant", "Hello")]


def turns(conversation):
    return [(message.role, message.content) for message in conversation.messages]


def reason_of(record, layout="auto"):
    with pytest.raises(UnusableRow) as caught:
        to_conversation(record, layout)
    assert caught.value.detail
    return caught.value.reason


RECORDS = [
    ("messages", {"messages": [{"role": role, "content": text} for role, text in TURNS]}),
    ("messages", {"conversations": [{"role": role, "content": text} for role, text in TURNS]}),
    (
        "sharegpt",
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello"},
            ]
        },
    ),
    ("alpaca", {"instruction": "Hi", "input": "", "output": "Hello"}),
    ("alpaca", {"instruction": "Hi", "context": None, "response": "Hello"}),
    ("prompt_completion", {"prompt": "Hi", "completion": "Hello"}),
    (
        "prompt_completion",
        {
            "prompt": [{"role": "user", "content": "Hi"}],
            "completion": [{"role": "assistant", "content": "Hello"}],
        },
    ),
]
"""The same turns in every layout."""


@pytest.mark.parametrize(("layout", "record"), RECORDS)
def test_every_layout_is_detected_and_gives_the_same_turns(layout, record):
    assert detect_layout(record) == layout
    assert turns(to_conversation(record, "auto")) == TURNS
    assert to_conversation(record, layout) == to_conversation(record, "auto")


def test_every_layout_is_shown_here():
    assert {layout for layout, _ in RECORDS} == set(LAYOUTS)


def test_lists_written_as_text_are_read_as_lists():
    messages = [{"role": role, "content": text} for role, text in TURNS]
    assert turns(to_conversation({"messages": json.dumps(messages)}, "auto")) == TURNS


def test_alpaca_puts_history_and_system_before_the_question():
    record = {
        "system": "Be kind.",
        "history": [["a", "b"], ["c", "d"]],
        "instruction": "Add.",
        "input": "1+1",
        "output": "2",
    }
    assert turns(to_conversation(record, "alpaca")) == [
        ("system", "Be kind."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
        ("user", "Add.\n1+1"),
        ("assistant", "2"),
    ]


def test_sharegpt_function_calls_become_tool_calls_with_object_arguments():
    record = json.loads((DATA / "sharegpt_tools.json").read_text())[0]
    conversation = to_conversation(record, "auto")
    call, answer = conversation.messages[1], conversation.messages[2]
    function = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert call.role == "assistant" and call.content == ""
    assert call.tool_calls == ({"type": "function", "function": function},)
    assert (answer.role, answer.name, answer.content) == ("tool", "get_weather", '{"celsius": 4}')
    assert conversation.tools[0]["function"]["name"] == "get_weather"


def test_openai_tool_calls_with_text_arguments_are_parsed():
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x": [1, "a"]}'},
    }
    record = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    message = to_conversation(record, "messages").messages[0]
    assert message.tool_calls[0]["function"] == {"name": "f", "arguments": {"x": [1, "a"]}}
    assert message.content == ""


def test_a_conversation_survives_its_row():
    record = json.loads((DATA / "sharegpt_tools.json").read_text())[0]
    conversation = to_conversation(record, "sharegpt")
    assert Conversation.from_row(conversation.row()) == conversation


def test_white_space_of_content_is_left_alone():
    record = {"prompt": " \n Hi\t", "completion": "\n\nHello \n"}
    assert turns(to_conversation(record, "auto")) == [
        ("user", " \n Hi\t"),
        ("assistant", "\n\nHello \n"),
    ]


def test_text_parts_are_joined_and_other_parts_refused():
    text = {"type": "text", "text": "Hi"}
    image = {"type": "image", "url": "x"}
    ok = {"messages": [{"role": "user", "content": [text, text]}]}
    assert turns(to_conversation(ok, "messages")) == [("user", "HiHi")]
    bad = {"messages": [{"role": "user", "content": [text, image]}]}
    assert reason_of(bad) == "multimodal"


@pytest.mark.parametrize(
    ("reason", "record"),
    [
        ("not_an_object", ["Hi"]),
        ("unknown_format", {"question": "Hi"}),
        ("unknown_role", {"messages": [{"role": "narrator", "content": "x"}]}),
        ("unknown_role", {"conversations": [{"from": "narrator", "value": "x"}]}),
        ("no_role", {"messages": [{"content": "x"}]}),
        ("not_a_list_of_turns", {"messages": {"role": "user"}}),
        ("not_a_list_of_turns", {"messages": ["Hi", "Ho"]}),
        ("column_is_not_json", {"messages": "[{"}),
        ("content_is_not_text", {"instruction": "Hi", "output": 3}),
        ("missing_field", {"instruction": "Hi", "output": None}),
        ("bad_history", {"instruction": "Hi", "output": "x", "history": ["ab"]}),
        ("bad_tools", {"prompt": "Hi", "completion": "x", "tools": ["f"]}),
        ("tool_call_is_not_json", {"conversations": [{"from": "function_call", "value": "f(x)"}]}),
        ("bad_tool_call", {"conversations": [{"from": "function_call", "value": "{}"}]}),
    ],
)
def test_an_unusable_record_says_why(reason, record):
    assert reason_of(record) == reason


def test_a_declared_layout_is_not_guessed_around():
    assert reason_of({"instruction": "Hi", "output": "x"}, "messages") == "missing_field"
    assert reason_of({"instruction": "Hi", "output": "x"}, "sharegpt") == "missing_field"


def test_a_dataset_is_read_as_any_layout_that_is_described_or_as_the_one_it_shows():
    assert get_args(LayoutName) == tuple(LAYOUTS)
    allowed = LocalDataset.model_json_schema()["properties"]["format"]["enum"]
    assert tuple(allowed) == get_args(Format) == ("auto", *LAYOUTS)

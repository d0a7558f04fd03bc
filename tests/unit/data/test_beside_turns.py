"""Columns beside the turns: what they say about a row is done, refused or told."""

import json

import pytest

from scripts.lib.data.conversation import GIVEN_ARGUMENTS
from scripts.lib.data.layouts import read_row, to_conversation
from scripts.lib.data.records import UnusableRow

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
FOUR = [*TURNS, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "So."}]


def trained(row):
    return [message.trained for message in to_conversation(row, "auto").messages]


def reason(row):
    with pytest.raises(UnusableRow) as caught:
        to_conversation(row, "auto")
    return caught.value.reason


def ignored(**columns):
    return read_row({"messages": TURNS, **columns}, "auto").ignored


@pytest.mark.parametrize(
    ("mask", "learnt"),
    [
        ([0, 0, 0, 1], [True, False, True, True]),
        ([0, 1], [True, False, True, True]),
        ([True, False], [True, True, True, False]),
        ("[0, 1]", [True, False, True, True]),
        (None, [True] * 4),
        ([], [True] * 4),
    ],
)
def test_a_loss_mask_is_one_of_turns_or_of_answers(mask, learnt):
    row = {"messages": FOUR, "loss_mask": mask}
    assert trained(row) == learnt
    assert read_row(row, "auto").ignored == ()


def test_a_mask_of_another_length_or_of_shares_is_refused():
    assert reason({"messages": FOUR, "loss_mask": [1, 0, 1]}) == "bad_loss_mask"
    assert reason({"messages": FOUR, "loss_mask": 1}) == "bad_loss_mask"
    assert reason({"messages": FOUR, "loss_mask": [0.5, 1]}) == "fractional_weight"
    assert ignored(loss_mask=[1, 1]) == ("loss_mask (of the user)",)


@pytest.mark.parametrize("column", ["weight", "train", "loss_weight"])
def test_a_row_that_says_no_is_not_learnt_and_its_share_is_told(column):
    assert reason({"messages": TURNS, column: 0}) == "nothing_to_train_on"
    assert ignored(**{column: 1}) == ignored(**{column: None}) == ()
    assert ignored(**{column: 0.7}) == (column,)


def test_a_measured_loss_of_a_row_is_no_wish():
    assert ignored(loss=0.0) == ("loss",)
    assert reason({"messages": TURNS, "loss": False}) == "nothing_to_train_on"


@pytest.mark.parametrize("column", ["label", "kto_tag"])
def test_answers_labelled_false_are_refused_and_classes_are_only_told(column):
    for false in (False, "False", "false"):
        assert reason({"messages": TURNS, column: false}) == "labelled_false"
    for true in (True, "true"):
        assert ignored(**{column: true}) == ()
    for other in (0, 3, "sports"):
        assert ignored(**{column: other}) == (column,)


@pytest.mark.parametrize("column", ["image", "images", "videos", "audio", "audios"])
def test_rows_with_media_are_refused_and_without_any_are_text(column):
    for holds in (["cat.png"], "cat.png", [{"bytes": b"x", "path": None}]):
        assert reason({"messages": TURNS, column: holds}) == "multimodal"
    for nothing in (None, [], [None], {"bytes": None, "path": None}):
        assert trained({"messages": TURNS, column: nothing}) == [True] * 2
    shown = [{"role": "user", "content": "<image>What is this?"}, TURNS[1]]
    assert reason({"messages": shown, column: []}) == "multimodal"
    assert trained({"messages": shown}) == [True] * 2


def test_a_turn_with_media_is_refused():
    assert reason({"messages": [{**TURNS[0], "images": ["x"]}, TURNS[1]]}) == "multimodal"


@pytest.mark.parametrize("column", ["chat_template_kwargs", "template_arguments"])
def test_template_arguments_are_an_object_or_its_text(column):
    arguments = {"enable_thinking": False, "style": [{"tone": "dry"}]}
    for written in (arguments, json.dumps(arguments)):
        read = read_row({"messages": TURNS, column: written}, "auto")
        assert read.conversation.template_arguments == arguments and read.ignored == ()
    assert reason({"messages": TURNS, column: [1]}) == "bad_template_arguments"
    assert reason({"messages": TURNS, column: "{"}) == "column_is_not_json"
    for name in GIVEN_ARGUMENTS:
        assert reason({"messages": TURNS, column: {name: True}}) == "template_argument_taken"
    assert not to_conversation({"messages": TURNS, column: {}}, "auto").template_arguments


def test_two_columns_of_template_arguments_agree_or_are_refused():
    both = {"chat_template_kwargs": {"a": 1}, "template_arguments": {"a": 1}}
    assert to_conversation({"messages": TURNS, **both}, "auto").template_arguments == {"a": 1}
    assert reason({"messages": TURNS, **both, "template_arguments": {"a": 2}})


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        [{"name": "f", "parameters": {"type": "object"}}],
        [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        [{"name": "f", "input_schema": {"type": "object"}}],
        [json.dumps({"name": "f", "parameters": {"type": "object"}})],
        json.dumps([{"name": "f", "parameters": {"type": "object"}}]),
    ],
)
def test_schemas_of_tools_have_one_shape(tools):
    assert to_conversation({"messages": TURNS, "tools": tools}, "auto").tools == (
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
    )


def test_nulls_that_a_person_wrote_stay():
    call = {"name": "f", "arguments": {"city": None, "days": [None, 1]}}
    turns = [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [call]}]
    parameters = {"properties": {"x": {"enum": ["a", None], "default": None}}}
    tools = [{"name": "f", "parameters": parameters}]
    conversation = to_conversation({"messages": turns, "tools": tools}, "auto")
    assert conversation.messages[1].tool_calls[0]["function"] == call
    assert conversation.tools[0]["function"]["parameters"] == parameters


def test_what_json_cannot_say_is_refused():
    for value in (float("inf"), b"x", {1, 2}):
        call = {"name": "f", "arguments": {"a": value}}
        turns = [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [call]}]
        assert reason({"messages": turns}) == "value_is_not_json"
    deep = json.loads('{"a":' * 100 + "1" + "}" * 100)
    assert reason({"messages": TURNS, "tools": [deep]}) == "nested_too_deep"
    assert reason({"messages": TURNS, "tools": [{"function": "f"}]}) == "bad_tools"


def test_columns_that_nothing_reads_are_named():
    assert ignored(mood="good", id=3, source="web", score=None, text="") == ("mood",)


def test_a_column_that_repeats_the_conversation_is_nothing_that_was_ignored():
    assert ignored(prompt="Hi ", prompt_id="x") == ()
    assert ignored(text="### User: Hi\n### Assistant: Ho") == ()
    assert ignored(conversations=TURNS[:1]) == ()
    assert ignored(prompt="Hello") == ("prompt",)


def test_the_system_column_counts_where_the_turns_have_none():
    assert (
        to_conversation({"messages": TURNS, "system": "Be."}, "auto").messages[0].content == "Be."
    )
    own = [{"role": "system", "content": "Own."}, *TURNS]
    assert read_row({"messages": own, "system": "Be."}, "auto").ignored == ("system",)
    assert read_row({"messages": own, "system": "Own."}, "auto").ignored == ()


def test_nan_is_an_absent_value_in_every_layout():
    nan = float("nan")
    row = json.loads('{"instruction": "Say hi", "input": NaN, "output": "hi", "history": NaN}')
    read = read_row({**row, "system": nan, "tools": nan, "label": nan, "image": nan}, "auto")
    assert read.ignored == ()
    assert [message.content for message in read.conversation.messages] == ["Say hi", "hi"]
    turns = [{**TURNS[0], "name": nan, "tool_calls": nan}, {**TURNS[1], "weight": nan}]
    assert read_row({"messages": turns, "prompt": nan}, "auto").ignored == ()
    assert to_conversation({"messages": nan, "prompt": "a", "completion": "b"}, "auto").messages

"""Turns of raw rows: who speaks, what is said, thought and called, and what is learnt."""

import json

import pytest

from scripts.lib.data.conversation import REASONING_KEYS, Message
from scripts.lib.data.layouts import read_row, to_conversation
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.roles import SPELLINGS

HI = {"role": "user", "content": "Hi"}
HO = {"role": "assistant", "content": "Ho"}
WEATHER = {"name": "weather", "arguments": {"city": "Bonn"}}
CALL = {"type": "function", "function": WEATHER}


def messages(*turns):
    return to_conversation({"messages": list(turns)}, "auto").messages


def answer(**keys):
    return messages(HI, {"role": "assistant", "content": "Ho", **keys})[1]


def refused(*turns):
    with pytest.raises(UnusableRow) as caught:
        messages(*turns)
    return caught.value


def ignored(*turns):
    return read_row({"messages": list(turns)}, "auto").ignored


@pytest.mark.parametrize("shape", ["{}", "{} ", "<|{}|>", "[{}]:"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_known_spellings_are_read_under_every_key_whatever_their_case(role, case, shape):
    for name in SPELLINGS[role]:
        spelled = shape.format(case(name))
        for speaker, content in (("role", "content"), ("from", "value"), ("speaker", "text")):
            turns = [{speaker: spelled, content: "x"}]
            assert to_conversation({"conversations": turns}, "auto").messages == (
                Message(role=role, content="x"),
            )


def test_keys_of_both_layouts_may_stand_in_one_turn():
    turns = [{"role": "user", "value": "Hi"}, {"from": "gpt", "content": "Ho"}]
    assert messages(*turns) == messages(HI, HO)


def test_an_unknown_role_is_named_with_the_nearest_that_is_known():
    error = refused({"role": "Asistant", "content": "x"})
    assert error.reason == "unknown_role" and error.names == ("Asistant",)
    assert "'Asistant' is not known" in error.detail and "assistant" in error.detail
    assert "known are" in refused({"role": "zzz", "content": "x"}).detail
    assert refused({"role": {"a": 1}, "content": "x"}).reason == "unknown_role"


@pytest.mark.parametrize("key", REASONING_KEYS)
def test_reasoning_under_any_key_is_kept_beside_the_content_as_it_is(key):
    message = answer(**{key: "easy"})
    assert (message.content, message.reasoning) == ("Ho", "easy")
    assert answer(**{key: None}).reasoning is answer(**{key: " "}).reasoning is None


def test_equal_reasonings_are_one_and_others_are_refused():
    assert answer(reasoning="easy", thinking="easy").reasoning == "easy"
    turn = {**HO, "reasoning": "easy", "thinking": "hard"}
    assert refused(HI, turn).reason == "several_reasonings"
    part = [{"type": "thinking", "thinking": "easy"}, {"type": "text", "text": "Ho"}]
    assert answer(content=part, reasoning="easy").reasoning == "easy"
    assert refused(HI, {**HO, "content": part, "reasoning": "no"}).reason == "several_reasonings"


def test_a_thought_inside_the_content_stays_there():
    text = "<think>\neasy\n</think>\n\nHo"
    assert (answer(content=text).content, answer(content=text).reasoning) == (text, None)


@pytest.mark.parametrize("key", ["text", "value", "content"])
def test_typed_parts_are_text_reasoning_and_calls(key):
    parts = [
        {"type": "reasoning", key: "easy"},
        {"type": "text", key: "Let me "},
        {"type": "text", key: "see."},
        {"type": "tool_call", key: json.dumps(WEATHER)},
    ]
    message = answer(content=parts)
    assert message == Message(
        role="assistant", content="Let me see.", reasoning="easy", tool_calls=(CALL,)
    )


def test_parts_as_anthropic_writes_them_become_calls_and_answers_of_tools():
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bonn"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "9"}],
    }
    turns = [
        HI,
        {"role": "assistant", "content": [{"type": "text", "text": "So:"}, call]},
        {"role": "user", "content": [result, {"type": "tool_result", "tool_use_id": "t2"}]},
        HO,
    ]
    assert ignored(*turns) == ()
    _, calling, first, second, _ = messages(*turns)
    assert calling.tool_calls == ({**CALL, "id": "t1"},)
    assert (first.role, first.content, first.tool_call_id) == ("tool", "9", "t1")
    assert (second.role, second.content, second.tool_call_id) == ("tool", "", "t2")


@pytest.mark.parametrize("kind", ["image", "image_url", "input_audio", "video", "file", "document"])
def test_parts_of_media_are_multimodal_and_others_named(kind):
    assert refused({"role": "user", "content": [{"type": kind, "url": "x"}]}).reason == "multimodal"
    error = refused({"role": "user", "content": [{"type": "hologram"}]})
    assert (error.reason, error.names) == ("unknown_part", ("hologram",))


@pytest.mark.parametrize(
    ("reason", "parts"),
    [
        ("text_behind_tool_call", [{"type": "tool_use", **WEATHER}, {"type": "text", "text": "x"}]),
        (
            "reasoning_behind_answer",
            [{"type": "text", "text": "x"}, {"type": "reasoning", "text": "y"}],
        ),
    ],
)
def test_parts_in_an_order_that_no_template_writes_are_refused(reason, parts):
    assert refused(HI, {"role": "assistant", "content": parts}).reason == reason


def test_ids_parallel_calls_and_answers_are_kept():
    calls = [{"id": "a1", **CALL}, {"id": "a2", **CALL}]
    turns = [
        HI,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a1", "name": "weather", "content": "12 C"},
        {"role": "tool", "tool_call_id": "a2", "content": {"celsius": 12}},
        HO,
    ]
    assert ignored(*turns) == ()
    _, calling, first, second, _ = messages(*turns)
    assert [call["id"] for call in calling.tool_calls] == ["a1", "a2"]
    assert (first.tool_call_id, first.name, first.content) == ("a1", "weather", "12 C")
    assert (second.tool_call_id, second.content) == ("a2", '{"celsius": 12}')


def test_old_function_calls_are_tool_calls_and_their_answers_tools():
    turns = [
        HI,
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "weather", "arguments": '{"city": "Bonn"}'},
        },
        {"role": "function", "name": "weather", "content": "12 C"},
        HO,
    ]
    row = {"messages": turns, "functions": [{"name": "weather", "parameters": {}}]}
    read = read_row(row, "auto")
    assert read.ignored == ()
    _, calling, result, _ = read.conversation.messages
    assert (calling.content, calling.tool_calls) == ("", (CALL,))
    assert (result.role, result.name, result.content) == ("tool", "weather", "12 C")
    assert read.conversation.tools[0]["function"]["name"] == "weather"


def test_nobody_but_the_assistant_calls_tools():
    assert refused({**HI, "tool_calls": [CALL]}).reason == "not_the_assistant"
    assert messages({**HI, "tool_calls": []}, {**HO, "tool_calls": None}) == messages(HI, HO)


@pytest.mark.parametrize(
    "turns",
    [
        [json.dumps(HI), json.dumps(HO)],
        json.dumps([HI, HO]),
        json.dumps([json.dumps(HI), HO]),
    ],
)
def test_turns_and_lists_as_json_texts_are_read(turns):
    assert to_conversation({"messages": turns}, "auto").messages == messages(HI, HO)


@pytest.mark.parametrize("key", ["weight", "train", "loss", "loss_weight"])
def test_a_turn_is_learnt_unless_it_says_no(key):
    assert [answer(**{key: value}).trained for value in (1, 1.0, True, None, float("nan"))] == [
        True
    ] * 5
    assert [answer(**{key: value}).trained for value in (0, 0.0, False)] == [False] * 3
    assert refused(HI, {**HO, key: 0.5}).reason == "fractional_weight"
    assert refused(HI, {**HO, key: "often"}).reason == "weight_is_no_number"
    assert ignored(HI, {**HO, key: 0}) == ()


def test_weights_of_a_turn_that_do_not_agree_are_refused():
    assert refused(HI, {**HO, "weight": 0, "train": True}).reason == "several_weights"
    assert not answer(weight=0, train=False).trained


def test_a_wish_to_learn_a_question_is_told_and_none_to_leave_it_out():
    assert ignored({**HI, "train": True}, HO) == ("messages.train (of the user)",)
    assert ignored({**HI, "train": False, "weight": 0}, HO) == ()


def test_keys_that_nothing_reads_are_named_unless_they_hold_nothing_or_are_harmless():
    turns = [{**HI, "id": 3, "mood": "good", "refusal": None, "notes": [], "x": float("nan")}, HO]
    assert ignored(*turns) == ("messages.mood",)
    parts = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]
    assert ignored({"role": "user", "content": parts}, HO) == ("messages.content.cache_control",)
    assert ignored({**HI, "value": "Hello"}, HO) == ("messages.value",)

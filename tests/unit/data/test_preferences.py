"""Rows with a better and a worse answer are named, and used only on request."""

import json

import pytest

from scripts.lib.data.layouts import read_row
from scripts.lib.data.records import UnusableRow

ASKED = [{"role": "user", "content": "2+2?"}]
GOOD = {"role": "assistant", "content": "4"}
BAD = {"role": "assistant", "content": "5"}
ROWS = {
    "texts": {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
    "turns": {"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD]},
    "one turn": {
        "conversations": [{"from": "human", "value": "2+2?"}],
        "chosen": {"from": "gpt", "value": "4"},
        "rejected": {"from": "gpt", "value": "5"},
    },
    "texts beside turns": {"messages": ASKED, "chosen": "4", "rejected": "5"},
    "alpaca": {"instruction": "2+2?", "input": "", "chosen": "4", "rejected": "5"},
    "implicit": {"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
    "both": {"prompt": "2+2?", "chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
    "json": {"prompt": "2+2?", "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD])},
    "whole": {"messages": [*ASKED, GOOD], "rejected_response": "5"},
}


def refused(row, use=None):
    with pytest.raises(UnusableRow) as caught:
        read_row(row, "auto", use)
    return caught.value.reason


@pytest.mark.parametrize("shape", ROWS)
def test_no_pair_is_trained_without_a_word(shape):
    assert refused(ROWS[shape]) == "preference_row"


@pytest.mark.parametrize("shape", ROWS)
def test_the_chosen_answer_is_trained_on_request(shape):
    read = read_row(ROWS[shape], "auto", "chosen")
    turns = [(turn.role, turn.content, turn.trained) for turn in read.conversation.messages]
    assert turns == [("user", "2+2?", True), ("assistant", "4", True)]
    assert read.ignored == ()


@pytest.mark.parametrize("explicit", [True, False])
def test_of_several_turns_only_the_chosen_answer_is_learnt(explicit):
    before = [*ASKED, BAD, {"role": "user", "content": "Sure?"}]
    row = (
        {"prompt": before, "chosen": [GOOD], "rejected": [BAD]}
        if explicit
        else {"chosen": [*before, GOOD], "rejected": [*before, BAD]}
    )
    turns = read_row(row, "auto", "chosen").conversation.messages
    assert [turn.trained for turn in turns] == [True, False, True, True]


def test_what_cannot_be_asked_is_refused():
    assert refused({"chosen": "4", "rejected": "5"}, "chosen") == "missing_field"
    other = [{"role": "user", "content": "3+3?"}, GOOD]
    assert refused({"prompt": ASKED, "chosen": other, "rejected": [BAD]}, "chosen") == (
        "prompt_differs"
    )
    assert refused({"messages": ASKED, "rejected": "5"}, "chosen") == "preference_row"
    assert refused({"prompt": ASKED, "chosen": ASKED, "rejected": [BAD]}, "chosen")


def test_other_rows_are_read_as_ever_and_empty_columns_are_no_pair():
    row = {"messages": [*ASKED, GOOD], "chosen": None, "rejected": ""}
    assert read_row(row, "auto") == read_row(row, "auto", "chosen")
    assert read_row({**row, "rejected": 3}, "auto").ignored == ("rejected",)


def test_of_prompt_and_completion_only_the_completion_is_learnt():
    before = [*ASKED, BAD, {"role": "user", "content": "Sure?"}]
    for written in (list, json.dumps):
        row = {"prompt": written(before), "completion": written([GOOD])}
        turns = read_row(row, "auto").conversation.messages
        assert [turn.trained for turn in turns] == [True, False, True, True]
    text = json.dumps([GOOD])
    turns = read_row({"prompt": "Write turns.", "completion": text}, "auto").conversation.messages
    assert turns[1].content == text

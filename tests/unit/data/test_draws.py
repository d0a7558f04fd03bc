"""What a row is drawn from is its content as JSON; a change of that text would move rows."""

import hashlib
import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.draws import draw

ALWAYS = ("role", "content", "name", "tool_calls", "messages", "tools")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
OBJECTS = st.lists(st.dictionaries(TEXT, TEXT | st.none() | st.integers(), max_size=2), max_size=2)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=TEXT,
    reasoning=st.none() | TEXT,
    name=st.none() | TEXT,
    tool_call_id=st.none() | TEXT,
    tool_calls=OBJECTS.map(tuple),
    trained=st.booleans(),
)
CONVERSATIONS = st.builds(
    Conversation,
    messages=st.lists(MESSAGES, max_size=4).map(tuple),
    tools=OBJECTS.map(tuple),
    template_arguments=st.dictionaries(TEXT, TEXT, max_size=2),
)


def content_of(conversation):
    """Return the content of a conversation: nulls of keys that came later are left out."""
    row = conversation.row()
    turns = [known(turn) for turn in row["messages"]]
    return known({**row, "messages": turns})


def known(values):
    return {key: value for key, value in values.items() if value is not None or key in ALWAYS}


def sha256(content):
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


@settings(max_examples=200, deadline=None)
@given(CONVERSATIONS, st.integers(0, 9))
def test_a_row_is_drawn_from_the_json_of_its_content(conversation, seed):
    turns = tuple(message for message in conversation.messages if message.role != "system")
    found = draw(conversation, seed)
    assert sha256(content_of(conversation)).startswith(found.content)
    drawn = sha256([seed, content_of(replace(conversation, messages=turns))])
    assert found.place == int.from_bytes(drawn[:8]) and not found.grouped


@settings(max_examples=20, deadline=None)
@given(CONVERSATIONS, CONVERSATIONS, TEXT)
def test_rows_of_a_group_are_drawn_alike_whatever_they_say(one, other, group):
    assert draw(one, 0, group).place == draw(other, 0, group).place
    assert draw(one, 0, group).place != draw(one, 1, group).place

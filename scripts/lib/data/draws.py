"""What a row's split is drawn from, and what makes two rows equal: digests of content.

The JSON texts that are hashed decide in which split a row stands. They are what
`json.dumps(Conversation.row(), ensure_ascii=False, sort_keys=True)` writes without most of its
nulls, put together by hand: it takes half of the time, and both texts share the turns.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring as quoted
from typing import Any, NamedTuple

from scripts.lib.data.columns import look_up
from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.raw_fields import holds_nothing
from scripts.lib.data.records import UnusableRow

CONTENT_BYTES = 16


class Draw(NamedTuple):
    """What tells a row from others and decides its split.

    Attributes:
        content: Equal for equal conversations, system turn and all.
        place: From which its split is drawn, 0 to 2**64 - 1; equal within a group.
        grouped: Whether it has a group.
    """

    content: bytes
    place: int
    grouped: bool


def draw(conversation: Conversation, seed: int, group: str | None = None) -> Draw:
    """Draw a row from its content, the system turn aside, or from its group.

    Without the system turn, another `system` setting moves no row.

    Args:
        conversation: As the row has it, its turns mended: what fills placeholders, and what the
            template is given for all, moves no row either.
        seed: Another one draws otherwise.
        group: The value that keeps rows together, or None.

    Raises:
        UnusableRow: The text has a lone surrogate, which no file takes.
    """
    turns = [_turn(message) for message in conversation.messages]
    beside = _beside(conversation)
    content = _sha256(_text(turns, beside))
    if group is not None:
        drawn = json.dumps([seed, {"group": group}], ensure_ascii=False)
    else:
        own = [
            text
            for text, message in zip(turns, conversation.messages, strict=True)
            if message.role != "system"
        ]
        drawn = f"[{seed}, {_text(own, beside)}]"
    place = int.from_bytes(_sha256(drawn)[:8])
    return Draw(content[:CONTENT_BYTES], place, group is not None)


def group_of(record: object, column: str | None) -> str | None:
    """Return the value that keeps a row in one split with others; None where it has none.

    Numbers and texts that read alike are one: tables of text know only the latter.

    Args:
        record: The row as published.
        column: A column, or a path into objects.
    """
    if column is None or not isinstance(record, Mapping):
        return None
    value = look_up(record, column)
    if holds_nothing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a data frame with a gap turns whole numbers into these
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    )


def _text(turns: Iterable[str], beside: str) -> str:
    return f'{{"messages": [{", ".join(turns)}]{beside}}}'


def _turn(message: Message) -> str:
    name = "null" if message.name is None else quoted(message.name)
    text = f'{{"content": {quoted(message.content)}, "name": {name}'
    if message.reasoning is not None:
        text += f', "reasoning": {quoted(message.reasoning)}'
    text += f', "role": "{message.role}"'
    if message.tool_call_id is not None:
        text += f', "tool_call_id": {quoted(message.tool_call_id)}'
    text += f', "tool_calls": {_quoted_json(message.tool_calls)}'
    return text + ("}" if message.trained else ', "trained": false}')


def _beside(conversation: Conversation) -> str:
    arguments = ""
    if conversation.template_arguments:
        arguments = f', "template_arguments": {_quoted_json(conversation.template_arguments)}'
    return f'{arguments}, "tools": {_quoted_json(conversation.tools)}'


def _quoted_json(value: Any) -> str:
    return quoted(json.dumps(value, ensure_ascii=False)) if value else "null"


def _sha256(text: str) -> bytes:
    try:
        return hashlib.sha256(text.encode()).digest()
    except UnicodeEncodeError as error:
        raise UnusableRow("not_unicode", f"the text has a lone surrogate: {error}") from error

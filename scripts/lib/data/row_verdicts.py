"""From one raw row to a conversation that can be trained on, or to the reason why there is none.

Pure: a row is judged without the others. Whether it repeats one of them, and which split it stands
in, is decided behind this (splitting.py).
"""

from dataclasses import dataclass, replace

from scripts.lib.data.columns import map_columns
from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.draws import Draw, draw, group_of
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.layouts import read_row
from scripts.lib.data.placeholders import filled
from scripts.lib.data.records import RawRow, UnusableRow

# What may stand before a turn; "call" is an assistant turn that calls a tool.
MAY_FOLLOW = {
    "system": ("start",),
    "user": ("start", "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("call", "tool"),
}
FIXED = {"trailing_turn_cut": "turns after the last answer were cut"}
"""What is mended, as a code, and in words."""

TURN_REASONS = {"system": "system_not_first", "tool": "tool_without_call"}


@dataclass(frozen=True, kw_only=True)
class UsableRow:
    """A raw row that can be trained on.

    Attributes:
        conversation: What it became.
        fixed: What was mended, as a code; '' for nothing.
        draw: What tells it from others and decides its split.
        ignored: Keys that hold something and were not used.
    """

    conversation: Conversation
    fixed: str
    draw: Draw
    ignored: tuple[str, ...]


def judge(spec: FormatSpec, record: RawRow) -> UsableRow:
    """Read one raw row.

    Args:
        spec: What decides the result.
        record: The row as published.

    Raises:
        UnusableRow: With the reason for the ledger.
    """
    if isinstance(record, UnusableRow):
        raise record
    read = read_row(map_columns(record, spec.columns, spec.tags), spec.layout, spec.use)
    conversation, fixed = usable(read.conversation, spec.system)
    whole = filled(conversation, spec.placeholders or {})
    drawn = draw(conversation, spec.split_seed, group_of(record, spec.split_by))
    if spec.template_arguments:
        arguments = {**spec.template_arguments, **conversation.template_arguments}
        whole = replace(whole, template_arguments=arguments)
    return UsableRow(
        conversation=whole,
        fixed=fixed,
        draw=drawn,
        ignored=tuple(key for key in read.ignored if key != spec.split_by),
    )


def mapped(spec: FormatSpec, record: RawRow) -> object:
    """Return a row with its columns mapped; None where one that is needed has no value."""
    try:
        return map_columns(record, spec.columns, spec.tags)
    except UnusableRow:
        return None


def usable(conversation: Conversation, system: str | None) -> tuple[Conversation, str]:
    """Check the turns of a conversation, and mend what can be mended.

    Args:
        conversation: Turns as converted.
        system: Text of the system turn to put in front if there is none.

    Returns:
        The conversation to use, and what was fixed: a reason code, or nothing.

    Raises:
        UnusableRow: If the conversation cannot be trained on.
    """
    messages = list(conversation.messages)
    if not messages:
        raise UnusableRow("no_turns", "the conversation is empty")
    while messages and messages[-1].role in ("user", "tool"):
        messages.pop()
    fixed = "" if len(messages) == len(conversation.messages) else "trailing_turn_cut"
    if all(message.role != "assistant" for message in messages):
        raise UnusableRow(
            "no_assistant", "no turn is the assistant's, so there is nothing to learn"
        )
    if not any(message.role == "assistant" and message.trained for message in messages):
        raise UnusableRow("nothing_to_train_on", "the row says that no answer is to be learnt")
    if messages[0].role != "system" and system is not None:
        messages.insert(0, Message(role="system", content=system))
    _check_order(messages)
    for number, message in enumerate(messages):
        empty = not message.content.strip() and not message.tool_calls
        if empty and message.role in ("assistant", "user"):
            raise UnusableRow(f"empty_{message.role}", f"turn {number} says nothing")
    if len(messages) == len(conversation.messages) and not fixed:
        return conversation, fixed
    return replace(conversation, messages=tuple(messages)), fixed


def _check_order(messages: list[Message]) -> None:
    """Demand: an optional system turn, then user and assistant in turn, tools after a call."""
    previous = "start"
    for number, message in enumerate(messages):
        role = message.role
        if previous not in MAY_FOLLOW[role]:
            reason = TURN_REASONS.get(role, "roles_do_not_alternate")
            raise UnusableRow(reason, f"turn {number} is {role} after {previous}")
        previous = "call" if message.tool_calls else role

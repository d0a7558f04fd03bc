"""Turns of a raw row as messages: who speaks, what is said and thought, calls, what is learnt.

A list of turns is a list of objects, of their JSON texts, or the JSON text of either. Each key has
the names that published data uses; a key of a turn that none of this reads is counted as ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scripts.lib.data.content_parts import Content, content_of
from scripts.lib.data.conversation import REASONING_KEYS, Message, Role
from scripts.lib.data.raw_fields import Fields, parsed
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.roles import Speaker, speaker_of
from scripts.lib.data.tool_calls import tool_calls

SPEAKER_KEYS = ("role", "from", "speaker")
CONTENT_KEYS = ("content", "value", "text")
CALL_KEYS = ("tool_calls", "function_call")
ANSWERED_KEYS = ("tool_call_id", "tool_use_id")
WEIGHT_KEYS = ("weight", "train", "loss", "loss_weight")
"""Whether a turn is learnt: 1 or true, 0 or false."""

# Most turns have none of these, which one look at all keys tells.
_WEIGHTS, _REASONING = frozenset(WEIGHT_KEYS), frozenset(REASONING_KEYS)

MEDIA_KEYS = frozenset(
    f"{medium}{end}" for medium in ("image", "video", "audio") for end in ("", "s", "_url", "_path")
)
"""Keys of turns, and columns of rows, that hold more than text."""


def read_turns(
    row: Fields, column: str, keys: Sequence[str] = SPEAKER_KEYS, *, single: bool = False
) -> list[Message]:
    """Return the messages of a list of turns.

    Args:
        row: The row.
        column: Its column with the list.
        keys: Under which keys turns say who speaks.
        single: Whether one turn may stand there without a list.

    Raises:
        UnusableRow: If it is no list of turns, or one of them cannot be read.
    """
    value = row.get(column)
    turns = parsed(value, column)
    if single and isinstance(turns, Mapping):
        turns = [turns]
    if isinstance(turns, list):
        turns = [parsed(turn, column, reason="not_a_list_of_turns") for turn in turns]
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise UnusableRow("not_a_list_of_turns", f"`{column}` is not a list of objects")
    messages: list[Message] = []
    called: list[str] = []
    for number, turn in enumerate(turns):
        fields = row.inside(column, turn)
        speaker = _speaker(fields, keys, number)
        read = _read_turn(fields, speaker)
        if speaker == "call":
            called = [call["function"]["name"] for call in read[0].tool_calls]
        elif speaker == "tool" and called and read[0].name is None:
            # Such calls have no ids: answers come in their order.
            read[0] = replace(read[0], name=called.pop(0))
        messages += read
    return messages


def media_key(fields: Fields) -> str | None:
    """Return a key of a row or a turn that holds more than text; None if it is only that."""
    if MEDIA_KEYS.isdisjoint(fields.values):
        return None
    keys = (key for key in fields.values if key in MEDIA_KEYS)
    return next((key for key in keys if fields.holds(key)), None)


def _speaker(turn: Fields, keys: Sequence[str], number: int) -> Speaker:
    found = turn.first(keys)
    if found is None:
        there = ", ".join(map(str, turn.values)) or "none"
        raise UnusableRow(
            "no_role", f"turn {number} has none of the keys {', '.join(keys)}; it has {there}"
        )
    return speaker_of(found[1])


def _read_turn(turn: Fields, speaker: Speaker) -> list[Message]:
    """Return the message of a turn, behind those of the tools whose answers it holds."""
    if media := media_key(turn):
        raise UnusableRow("multimodal", f"a turn holds `{media}`")
    if speaker == "call":
        return [_called(turn)]
    content = _content(turn, speaker)
    calls = list(content.calls)
    if found := next((key for key in CALL_KEYS if turn.holds(key)), None):
        calls += tool_calls(turn, found, turn.get(found))
    reasoning = _reasoning(turn, content) if speaker == "assistant" else None
    if speaker != "assistant" and (calls or content.reasonings):
        raise UnusableRow("not_the_assistant", f"a turn of the {speaker} calls tools or reasons")
    name = turn.get("name") if isinstance(turn.values.get("name"), str) else None
    answered = turn.first(ANSWERED_KEYS) if speaker == "tool" else None
    message = Message(
        role=speaker,
        content=content.text,
        reasoning=reasoning,
        name=name or None,
        tool_call_id=None if answered is None else str(answered[1]),
        tool_calls=tuple(calls),
        trained=_is_trained(turn, speaker),
    )
    return [*content.results, *([] if content.results and not content.text.strip() else [message])]


def _called(turn: Fields) -> Message:
    """Return a turn that is nothing but its calls."""
    found = turn.first(CONTENT_KEYS) or turn.first(CALL_KEYS)
    if found is None:
        raise UnusableRow("bad_tool_call", "a turn that is to call a tool holds nothing")
    calls = tool_calls(turn, *found)
    return Message(
        role="assistant",
        content="",
        reasoning=_reasoning(turn, Content()),
        tool_calls=calls,
        trained=_is_trained(turn, "assistant"),
    )


def _content(turn: Fields, speaker: Role) -> Content:
    found = turn.first(CONTENT_KEYS)
    if found is not None and not (found[1] == [] and speaker == "assistant"):
        return content_of(turn, *found, speaker)
    if speaker == "assistant" and any(turn.holds(key) for key in (*CALL_KEYS, *REASONING_KEYS)):
        return Content()
    raise UnusableRow(
        "content_is_not_text", f"a turn of the {speaker} holds nothing in {', '.join(CONTENT_KEYS)}"
    )


def _reasoning(turn: Fields, content: Content) -> str | None:
    """Return what an assistant thought; under several keys it may stand only if it is the same."""
    given = list(content.reasonings)
    if not given and _REASONING.isdisjoint(turn.values):
        return None
    for key in REASONING_KEYS:
        if not turn.holds(key) or isinstance(turn.values[key], bool):
            continue
        own = content_of(turn, key, turn.get(key), "assistant")
        given.append("".join(own.reasonings) + own.text)
    texts = {text.strip(): text for text in reversed(given) if text.strip()}
    if len(texts) > 1:
        raise UnusableRow("several_reasonings", "a turn holds several reasonings that differ")
    return next(iter(texts.values()), None)


def _is_trained(turn: Fields, role: Role) -> bool:
    """Tell whether an assistant's turn is to be learnt; a wish to learn another's is noted."""
    if _WEIGHTS.isdisjoint(turn.values):
        return True
    wishes = {
        key: as_trained(value, key)
        for key in WEIGHT_KEYS
        if (value := turn.get(key)) is not None and value != ""
    }
    if len(set(wishes.values())) > 1:
        raise UnusableRow("several_weights", f"a turn's {' and '.join(wishes)} do not agree")
    trained = next(iter(wishes.values()), True)
    if role == "assistant":
        return trained
    if wishes and trained:
        turn.note(f"{next(iter(wishes))} (of the {role})")
    return True


def as_trained(value: Any, key: str) -> bool:
    """Return what a weight means.

    Raises:
        UnusableRow: It is neither 0 nor 1, false nor true.
    """
    if not isinstance(value, bool | int | float):
        raise UnusableRow("weight_is_no_number", f"`{key}` is {str(value)[:40]!r}")
    if value not in (0, 1):
        raise UnusableRow(
            "fractional_weight", f"`{key}` is {str(value)[:40]}; an answer is learnt or not, 1 or 0"
        )
    return bool(value)

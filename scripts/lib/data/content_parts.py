"""The content of a turn: a text, or typed parts as OpenAI, Anthropic and Hugging Face write them.

type of a part                                        becomes
---------------------------------------------------   ------------------------------------
text, input_text, output_text, or none                text; several are joined
reasoning, thinking, reasoning_content                the turn's reasoning
tool_call, tool_use, function_call                    a tool call
tool_result                                           a turn of a tool in front of this one
image, image_url, input_audio, video, file and so on  unusable: `multimodal`
any other                                             unusable: `unknown_part`
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.lib.data.conversation import Message
from scripts.lib.data.raw_fields import Fields, json_value
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.roles import NamedFault, Speaker
from scripts.lib.data.tool_calls import ARGUMENT_KEYS, tool_calls

TEXT_PARTS = ("text", "input_text", "output_text")
REASONING_PARTS = ("reasoning", "thinking", "reasoning_content")
CALL_PARTS = ("tool_call", "tool_use", "function_call")
RESULT_PARTS = ("tool_result",)
PART_TEXT_KEYS = ("text", "value", "content")
TOOL_MEDIA = ("image", "image_url", "input_image", "audio", "video")
MEDIA = re.compile(r"image|img|audio|video|file|document|media", re.IGNORECASE)


@dataclass
class Content:
    """What a turn says.

    Attributes:
        text: The words.
        reasonings: What it thought, piece by piece.
        calls: The tools that it calls.
        results: What tools answered, where a turn holds that.
    """

    text: str = ""
    reasonings: list[str] = field(default_factory=list)
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)


def content_of(turn: Fields, key: str, value: object, speaker: Speaker) -> Content:
    """Return what stands in the content of a turn.

    Args:
        turn: The turn.
        key: The key of its content.
        value: The content.
        speaker: Who speaks; what a tool answers may be any JSON, and becomes its text.

    Raises:
        UnusableRow: It is not text, holds media, or parts in an order that templates do not write.
    """
    if isinstance(value, str):
        return Content(text=value)
    parts: Any = [value] if isinstance(value, Mapping) and "type" in value else value
    if not _are_parts(parts, speaker):
        if speaker == "tool" and value is not None:
            return Content(text=json.dumps(json_value(value, key), ensure_ascii=False))
        raise UnusableRow("content_is_not_text", f"the content of `{key}` is not text")
    content = Content()
    for part in parts:
        _add(content, turn.inside(key, part))
    return content


def _are_parts(value: Any, speaker: Speaker) -> bool:
    """Tell whether a value is a list of parts; what tools answer can be a list of other things."""
    if not isinstance(value, list) or not value:
        return False
    if not all(isinstance(part, Mapping) for part in value):
        return False
    if speaker == "tool":
        return all(part.get("type") in (*TEXT_PARTS, *TOOL_MEDIA) for part in value)
    return all("type" in part or "text" in part for part in value)


def _add(content: Content, part: Fields) -> None:
    kind = part.get("type")
    if kind is None or kind in TEXT_PARTS:
        text = _text(part, PART_TEXT_KEYS, "text")
        if content.calls and text.strip():
            raise UnusableRow(
                "text_behind_tool_call", "a text stands behind a call; templates write it in front"
            )
        content.text += text
    elif kind in REASONING_PARTS:
        if content.text.strip() or content.calls:
            raise UnusableRow(
                "reasoning_behind_answer",
                "a reasoning stands behind words or calls; templates write one, in front",
            )
        part.get("signature")  # says who wrote it, to the service alone
        content.reasonings.append(_text(part, (*PART_TEXT_KEYS, kind), kind))
    elif kind in CALL_PARTS:
        content.calls += _calls(part, kind)
    elif kind in RESULT_PARTS:
        content.results.append(_result(part))
    elif MEDIA.search(str(kind)):
        raise UnusableRow("multimodal", f"a part of a turn is of the type {str(kind)!r}")
    else:
        raise NamedFault(
            "unknown_part", f"a part of a turn is of the type {str(kind)[:40]!r}", (str(kind),)
        )


def _calls(part: Fields, kind: str) -> tuple[dict[str, Any], ...]:
    """Return the calls of a part: under a key of their own, or the part itself."""
    if "name" in part.values or any(key in part.values for key in ARGUMENT_KEYS):
        for key in part.values:
            part.get(key)  # read by the call
        return tool_calls(part, "", part.values)
    found = part.first((*PART_TEXT_KEYS, kind, "function"))
    if found is None:
        raise UnusableRow("bad_tool_call", f"a part of the type {kind!r} holds no call")
    calls = tool_calls(part, *found)
    if (id_ := part.get("id")) is not None and len(calls) == 1 and "id" not in calls[0]:
        return ({"type": "function", "id": str(id_), "function": calls[0]["function"]},)
    return calls


def _result(part: Fields) -> Message:
    key, value = part.first(PART_TEXT_KEYS) or ("content", "")
    answers = part.first(("tool_use_id", "tool_call_id"))
    name = part.get("name")
    content = content_of(part, key, value, "tool")
    return Message(
        role="tool",
        content=content.text,
        name=name if isinstance(name, str) else None,
        tool_call_id=None if answers is None else str(answers[1]),
    )


def _text(part: Fields, keys: tuple[str, ...], kind: str) -> str:
    found = part.first(keys)
    if found is None or not isinstance(found[1], str):
        raise UnusableRow("content_is_not_text", f"a part of the type {kind!r} holds no text")
    return found[1]


def text_of(value: object, where: str) -> str:
    """Return a value of a column that is one text.

    Raises:
        UnusableRow: If it is none.
    """
    content = content_of(Fields({}), where, value, "user")
    if content.calls or content.results or content.reasonings:
        raise UnusableRow("content_is_not_text", f"`{where}` holds more than text")
    return content.text

"""A conversation: turns in order, and the tools that may be called; as the tables hold it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
TrainOn = Literal["assistant", "last_assistant", "all"]
"""What of a conversation is trained on: every assistant turn, the last one, or all its tokens."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Who speaks.
        content: What is said, white space untouched; empty beside tool calls.
        name: Name of the tool that answers, if the data says so.
        tool_calls: Calls as `{"type": "function", "function": {"name", "arguments": object}}`.
    """

    role: Role
    content: str
    name: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()

    def for_template(self) -> dict[str, Any]:
        """Return the message as chat templates expect it: absent keys rather than nulls."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            message["name"] = self.name
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
        return message


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns in order, and the tools that the assistant may call.

    Attributes:
        messages: The turns, oldest first.
        tools: JSON schemas as `{"type": "function", "function": {...}}`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()

    def row(self) -> dict[str, Any]:
        """Return the columns `messages` and `tools` of the conversations table."""
        messages = [
            {
                "role": message.role,
                "content": message.content,
                "name": message.name,
                "tool_calls": _json(message.tool_calls) if message.tool_calls else None,
            }
            for message in self.messages
        ]
        return {"messages": messages, "tools": _json(self.tools) if self.tools else None}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Conversation":
        """Return the conversation that `row` wrote."""
        messages = tuple(
            Message(
                role=message["role"],
                content=message["content"],
                name=message["name"],
                tool_calls=tuple(json.loads(message["tool_calls"] or "[]")),
            )
            for message in row["messages"]
        )
        return cls(messages=messages, tools=tuple(json.loads(row["tools"] or "[]")))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

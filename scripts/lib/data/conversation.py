"""A conversation: turns in order, and the tools that may be called; as the tables hold it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
TrainOn = Literal["assistant", "last_assistant", "all"]
"""What of a conversation is trained on: every assistant turn, the last one, or all its tokens."""

Turns = Literal["auto", "together", "each"]
"""Whether a conversation is one row of a shard, or each trained turn one; auto looks at it."""

PlainAnswers = Literal["as_template", "close_empty", "reject"]
"""What becomes of an answer without reasoning where the template knows of reasoning."""

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Under which keys rows give an assistant's reasoning, and chat templates ask for it."""

GIVEN_ARGUMENTS = frozenset(
    {
        *("messages", "conversation", "tools", "documents", "chat_template"),
        *("add_generation_prompt", "continue_final_message", "tokenize", "tokenizer_kwargs"),
        *("sanitize_control_tokens", "padding", "truncation", "max_length", "return_tensors"),
        *("return_dict", "return_assistant_tokens_mask", "strftime_now", "raise_exception"),
        *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token"),
        "mask_token",
    }
)
"""Names under which rendering itself gives a template something: no argument may be called so."""


@dataclass(frozen=True, kw_only=True)
class TurnForm:
    """In which form a chat template takes what turns can hold in several.

    Attributes:
        reasoning: Under keys of its own (all of REASONING_KEYS), in front of the content, or as
            `content` where the row has it there and else not at all.
        arguments: A call's arguments as an object, or as the JSON text of it.
    """

    reasoning: Literal["keys", "content", "unknown"] = "keys"
    arguments: Literal["object", "text"] = "object"


PLAIN_FORM = TurnForm()


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Who speaks.
        content: What is said, white space untouched; empty beside tool calls. An assistant's may
            begin with its reasoning between `<think>` and `</think>`, as written.
        reasoning: What the assistant thought, where the row has a key of its own for it.
        name: Name of the tool that answers, if the data says so.
        tool_call_id: The call that a tool answers, if the data says so.
        tool_calls: Calls as `{"type": "function", "function": {"name", "arguments": object}}`, with
            an `id` if the data has one.
        trained: False where the row says that this turn is not to be learnt.
    """

    role: Role
    content: str
    reasoning: str | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    trained: bool = True

    def for_template(self, form: TurnForm = PLAIN_FORM) -> dict[str, Any]:
        """Return the message as chat templates expect it: absent keys rather than nulls."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning is not None and form.reasoning == "keys":
            message |= dict.fromkeys(REASONING_KEYS, self.reasoning)
        if self.name is not None:
            message["name"] = self.name
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.tool_calls:
            text = form.arguments == "text"
            message["tool_calls"] = [_with_text(call) if text else call for call in self.tool_calls]
        return message


def _with_text(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": _json(function["arguments"])}}


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns in order, and the tools that the assistant may call.

    Attributes:
        messages: The turns, oldest first.
        tools: JSON schemas as `{"type": "function", "function": {...}}`.
        template_arguments: What the chat template is given beside them, such as `enable_thinking`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the columns of the conversations table but its first, the conversation's id."""
        messages = [
            {
                "role": message.role,
                "content": message.content,
                "reasoning": message.reasoning,
                "name": message.name,
                "tool_call_id": message.tool_call_id,
                "tool_calls": _json(message.tool_calls) if message.tool_calls else None,
                "trained": None if message.trained else False,
            }
            for message in self.messages
        ]
        return {
            "messages": messages,
            "tools": _json(self.tools) if self.tools else None,
            "template_arguments": _json(self.template_arguments)
            if self.template_arguments
            else None,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Conversation":
        """Return the conversation that `row` wrote."""
        return cls(
            messages=tuple(map(_message, row["messages"])),
            tools=tuple(json.loads(row["tools"])) if row["tools"] else (),
            template_arguments=json.loads(row["template_arguments"] or "{}"),
        )


def _message(row: Mapping[str, Any]) -> Message:
    # Most turns call nothing, and reading `[]` for each takes longer than all else here.
    calls = tuple(json.loads(row["tool_calls"])) if row["tool_calls"] else ()
    return Message(**{**row, "tool_calls": calls, "trained": row["trained"] is not False})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

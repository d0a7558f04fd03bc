"""Turn one raw record into a conversation.

Four layouts are understood: `messages` (the OpenAI and Hugging Face one), `sharegpt` (`from` and
`value`, with function calls and observations), `alpaca` (instruction, input, output, history) and
`prompt_completion`. `auto` looks at the columns of each row.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never, cast, get_args

from scripts.lib.data.conversation import Conversation, Message, Role
from scripts.lib.data.records import UnusableRow

LayoutName = Literal["messages", "sharegpt", "alpaca", "prompt_completion"]
Format = Literal["auto", LayoutName]
"""What a dataset can be read as; with `auto` each row shows by its columns which layout it has."""

Record = Mapping[str, Any]

TURN_COLUMNS = ("messages", "conversations", "conversation")
QUESTION_COLUMNS = ("instruction",)
EXTRA_COLUMNS = ("input", "context")
ANSWER_COLUMNS = ("output", "response")
HISTORY_COLUMN = "history"
PROMPT_COLUMNS = ("prompt",)
COMPLETION_COLUMNS = ("completion",)

ROLES: tuple[str, ...] = get_args(Role)
# Speakers as published ShareGPT dumps spell them.
SHAREGPT_SPEAKERS: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool": "tool",
}
ROLE_SYNONYMS = {"developer": "system", "function": "tool"}


@dataclass(frozen=True)
class Layout:
    """What the rows of one layout look like.

    Attributes:
        needs: Its columns, each with its other names.
        holds: What stands in them, in words.
    """

    needs: tuple[tuple[str, ...], ...]
    holds: str

    def words(self) -> str:
        """Say which columns it reads."""
        return f"{' and '.join(map(_names, self.needs))}, {self.holds}"

    def is_in(self, columns: Iterable[object]) -> bool:
        """Tell whether *columns* are all that it needs."""
        there = set(columns)
        return all(there.intersection(names) for names in self.needs)


def _names(names: tuple[str, ...]) -> str:
    first, *others = (f"`{name}`" for name in names)
    return first + (f" (or {', '.join(others)})" if others else "")


LAYOUTS: Mapping[LayoutName, Layout] = {
    "messages": Layout((TURN_COLUMNS,), "a list of turns with `role` and `content`"),
    "sharegpt": Layout((TURN_COLUMNS,), "a list of turns with `from` and `value`"),
    "alpaca": Layout(
        (QUESTION_COLUMNS, ANSWER_COLUMNS),
        f"also {_names(EXTRA_COLUMNS)} and `{HISTORY_COLUMN}` where they are",
    ),
    "prompt_completion": Layout(
        (PROMPT_COLUMNS, COMPLETION_COLUMNS), "each a text or a list of turns"
    ),
}

_NO_TURNS = f"there is no value in a column {', '.join(TURN_COLUMNS)}"


def to_conversation(record: object, layout: Format) -> Conversation:
    """Convert one raw record; whether its turns can be used is not looked at.

    Args:
        record: The row as published.
        layout: Its layout, or `auto`.

    Returns:
        The conversation with its turns in order. Example: `{"instruction": "Add.", "input": "1+1",
        "output": "2"}` becomes a user turn of two lines, `Add.` and `1+1`, and the answer `2`.

    Raises:
        UnusableRow: If the row does not have this layout.
    """
    if not isinstance(record, Mapping):
        raise UnusableRow("not_an_object", f"the row is a {type(record).__name__}, not an object")
    known = detect_layout(record) if layout == "auto" else layout
    match known:
        case "messages":
            return _from_messages(record)
        case "sharegpt":
            return _from_sharegpt(record)
        case "alpaca":
            return _from_alpaca(record)
        case "prompt_completion":
            return _from_prompt_completion(record)
        case _:
            assert_never(known)


def fitting_layouts(record: object) -> list[LayoutName]:
    """Return the layouts as which *record* can be read."""
    fitting = []
    for layout in LAYOUTS:
        try:
            to_conversation(record, layout)
        except UnusableRow:
            continue
        fitting.append(layout)
    return fitting


def detect_layout(record: Record) -> LayoutName:
    """Return the layout that the columns of *record* show.

    Raises:
        UnusableRow: If they show none.
    """
    column = _turn_column(record)
    if column is not None:
        turns = _parsed(record[column], column)
        first = turns[0] if isinstance(turns, list) and turns else None
        return "sharegpt" if isinstance(first, Mapping) and "from" in first else "messages"
    layouts: tuple[LayoutName, ...] = ("alpaca", "prompt_completion")
    for layout in layouts:
        if LAYOUTS[layout].is_in(record):
            return layout
    columns = ", ".join(map(str, record)) or "none"
    raise UnusableRow("unknown_format", f"no known layout has these columns: {columns}")


def _from_messages(record: Record) -> Conversation:
    column = _turn_column(record)
    if column is None:
        raise UnusableRow("missing_field", _NO_TURNS)
    messages = _messages(record[column], column)
    return _conversation(record, messages)


def _from_sharegpt(record: Record) -> Conversation:
    column = _turn_column(record)
    if column is None:
        raise UnusableRow("missing_field", _NO_TURNS)
    messages: list[Message] = []
    called: list[str] = []
    for turn in _turns(record[column], column):
        speaker = str(turn.get("from"))
        if speaker == "function_call":
            calls = _tool_calls(turn.get("value"))
            called = [call["function"]["name"] for call in calls]
            messages.append(Message(role="assistant", content="", tool_calls=calls))
            continue
        if speaker not in SHAREGPT_SPEAKERS:
            raise UnusableRow("unknown_role", f"the speaker {speaker!r} is not known")
        role = SHAREGPT_SPEAKERS[speaker]
        name = called.pop(0) if role == "tool" and called else None
        messages.append(Message(role=role, content=_text(turn.get("value"), speaker), name=name))
    return _conversation(record, messages)


def _from_alpaca(record: Record) -> Conversation:
    messages: list[Message] = []
    for pair in _parsed(record.get(HISTORY_COLUMN) or [], HISTORY_COLUMN):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise UnusableRow("bad_history", "`history` holds something else than pairs of texts")
        messages += _pair(_text(pair[0], "history"), _text(pair[1], "history"))
    question = _text(_first(record, QUESTION_COLUMNS), "instruction")
    extra = next((record[name] for name in EXTRA_COLUMNS if record.get(name)), "")
    if extra:
        question = f"{question}\n{_text(extra, 'input')}" if question else _text(extra, "input")
    messages += _pair(question, _text(_first(record, ANSWER_COLUMNS), "output"))
    return _conversation(record, messages)


def _from_prompt_completion(record: Record) -> Conversation:
    messages: list[Message] = []
    sides: tuple[tuple[tuple[str, ...], Role], ...] = (
        (PROMPT_COLUMNS, "user"),
        (COMPLETION_COLUMNS, "assistant"),
    )
    for columns, role in sides:
        value = _first(record, columns)
        if isinstance(value, str):
            messages.append(Message(role=role, content=value))
        else:
            messages += _messages(value, columns[0])
    return _conversation(record, messages)


def _conversation(record: Record, messages: Iterable[Message]) -> Conversation:
    """Add what stands beside the turns in every layout: a system text and tools."""
    turns = tuple(messages)
    system = record.get("system")
    if isinstance(system, str) and system and (not turns or turns[0].role != "system"):
        turns = (Message(role="system", content=system), *turns)
    tools = _parsed(record.get("tools") or [], "tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise UnusableRow("bad_tools", "`tools` is not a list of objects")
    wrapped = [tool if "function" in tool else _function(tool) for tool in tools]
    return Conversation(messages=turns, tools=tuple(wrapped))


def _messages(value: object, column: str) -> list[Message]:
    return [_message(turn) for turn in _turns(value, column)]


def _message(turn: Record) -> Message:
    role = str(turn.get("role"))
    role = ROLE_SYNONYMS.get(role, role)
    if role not in ROLES:
        raise UnusableRow("unknown_role", f"the role {role!r} is not one of {', '.join(ROLES)}")
    calls = _tool_calls(turn["tool_calls"]) if turn.get("tool_calls") else ()
    content = turn.get("content")
    text = "" if content is None and calls else _text(content, role)
    name = turn.get("name")
    return Message(
        role=cast(Role, role),
        content=text,
        name=name if isinstance(name, str) else None,
        tool_calls=calls,
    )


def _tool_calls(value: object) -> tuple[Mapping[str, Any], ...]:
    """Return calls in one shape, with arguments as an object (templates dump them themselves)."""
    parsed = _parsed(value, "tool call", reason="tool_call_is_not_json")
    calls = []
    for call in parsed if isinstance(parsed, list) else [parsed]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise UnusableRow("bad_tool_call", "a tool call has no function name")
        arguments = function.get("arguments")
        arguments = {} if arguments in (None, "") else arguments
        arguments = _parsed(arguments, "arguments", reason="tool_call_is_not_json")
        if not isinstance(arguments, Mapping):
            raise UnusableRow("bad_tool_call", "the arguments of a tool call are not an object")
        calls.append(_function({"name": function["name"], "arguments": dict(arguments)}))
    return tuple(calls)


def _function(value: Record) -> dict[str, Any]:
    return {"type": "function", "function": dict(value)}


def _pair(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


def _turns(value: object, column: str) -> list[Record]:
    turns = _parsed(value, column)
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise UnusableRow("not_a_list_of_turns", f"`{column}` is not a list of objects")
    return turns


def _turn_column(record: Record) -> str | None:
    return next((column for column in TURN_COLUMNS if record.get(column) is not None), None)


def _first(record: Record, columns: Sequence[str]) -> Any:
    for column in columns:
        if record.get(column) is not None:
            return record[column]
    raise UnusableRow("missing_field", f"there is no value in a column {', '.join(columns)}")


def _text(value: object, where: str) -> str:
    """Return *value* as text; lists of text parts, as vision models use them, are joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in value]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return "".join(texts)
    raise UnusableRow("content_is_not_text", f"the content of `{where}` is not text")


def _parsed(value: Any, where: str, *, reason: str = "column_is_not_json") -> Any:
    """Return *value*, read as JSON if it is text (CSV and some dumps hold lists as text)."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnusableRow(reason, f"`{where}` is not JSON: {error}") from error

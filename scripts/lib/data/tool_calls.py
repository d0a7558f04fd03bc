"""Tool calls and schemas of tools, from every shape in which rows give them to one."""

from collections.abc import Mapping
from typing import Any

from scripts.lib.data.raw_fields import Fields, json_value, parsed
from scripts.lib.data.records import UnusableRow

ARGUMENT_KEYS = ("arguments", "parameters", "input")
CALL_ID_KEYS = ("id", "call_id")
SCHEMA_KEYS = ("tools", "functions")
"""Columns of the tools that may be called; the second is OpenAI's old one."""


def tool_calls(turn: Fields, key: str, value: object) -> tuple[dict[str, Any], ...]:
    """Return calls in one shape, with arguments as an object (templates dump them themselves).

    Args:
        turn: Where they stand.
        key: Under which key.
        value: One call or several, each an object or its JSON text: OpenAI's `{"id", "type",
            "function": {"name", "arguments"}}`, the inner object alone, or Anthropic's `{"id",
            "name", "input"}`.

    Returns:
        Each as `{"type": "function", "id", "function": {"name", "arguments"}}`, without an id if
        it has none.

    Raises:
        UnusableRow: If one has no name, or arguments that are no object.
    """
    calls = _json(value)
    return tuple(_call(turn, key, call) for call in (calls if isinstance(calls, list) else [calls]))


def tool_schemas(row: Fields) -> tuple[dict[str, Any], ...]:
    """Return the tools of a row as `{"type": "function", "function": {...}}`.

    Raises:
        UnusableRow: If they are not a list of objects.
    """
    found = next((name for name in SCHEMA_KEYS if row.holds(name)), None)
    if found is None:
        return ()
    tools = parsed(row.get(found), found, reason="bad_tools") or []
    if not isinstance(tools, list):
        raise UnusableRow("bad_tools", f"`{found}` is not a list of objects")
    return tuple(_schema(tool, found) for tool in tools)


def _schema(value: object, column: str) -> dict[str, Any]:
    given = parsed(value, column, reason="bad_tools")
    if not isinstance(given, Mapping):
        raise UnusableRow("bad_tools", f"`{column}` is not a list of objects")
    tool: dict[str, Any] = json_value(given, column)
    if "function" not in tool:
        tool.pop("type", None)  # OpenAI's Responses have it beside the name
        if "input_schema" in tool and "parameters" not in tool:  # Anthropic's name for it
            tool = {
                ("parameters" if key == "input_schema" else key): item for key, item in tool.items()
            }
        return _function(tool)
    if not isinstance(tool["function"], Mapping):
        raise UnusableRow("bad_tools", f"a `function` in `{column}` is not an object")
    return tool


def _call(turn: Fields, key: str, value: object) -> dict[str, Any]:
    call = _json(value)
    if not isinstance(call, Mapping):
        raise UnusableRow("bad_tool_call", "a tool call is not an object")
    outer = turn.inside(key, call)
    outer.get("type")
    outer.get("index")  # its place in a stream of OpenAI's
    inner = outer
    if isinstance(call.get("function"), Mapping):
        inner = outer.inside("function", outer.get("function"))
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise UnusableRow("bad_tool_call", "a tool call has no function name")
    found = inner.first(ARGUMENT_KEYS)
    arguments = {} if found is None or found[1] == "" else _json(found[1], "arguments")
    if not isinstance(arguments, Mapping):
        raise UnusableRow("bad_tool_call", "the arguments of a tool call are not an object")
    function = {"name": name, "arguments": json_value(arguments, "arguments")}
    id_ = outer.first(CALL_ID_KEYS)
    if id_ is None:
        return _function(function)
    return {"type": "function", "id": str(id_[1]), "function": function}


def _function(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": dict(value)}


def _json(value: object, where: str = "tool call") -> Any:
    return parsed(value, where, reason="tool_call_is_not_json")

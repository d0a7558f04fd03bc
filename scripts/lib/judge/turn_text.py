"""Turns as a judge reads them; apart from its prompt, as models that answer do not follow that."""

import json
from collections.abc import Mapping
from typing import Any


def turn_text(turn: Mapping[str, Any]) -> str:
    """Return what is said in a turn; a call of a tool is a line of JSON.

    Args:
        turn: As chat templates expect it.
    """
    calls = [json_line(call["function"]) for call in turn.get("tool_calls", ())]
    return "\n".join([turn["content"], *calls] if turn["content"] else calls)


def json_line(value: object) -> str:
    """Return a value as one line of JSON, letters as they are."""
    return json.dumps(value, ensure_ascii=False)

"""Rows of questions in JSON lines, checked one by one: the part that needs no library."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scripts.lib.errors import ScoreError

QUESTIONS_FILE = "questions.jsonl"

Row = Mapping[str, Any]
Message = dict[str, str]


def read_rows(path: Path, fault: Callable[[Row], str | None]) -> list[Row]:
    """Return the rows of a JSONL file.

    Args:
        path: The file.
        fault: Says what is wrong with a row, or None.

    Raises:
        ScoreError: The file is missing, empty, or a row is wrong, with file and line.
    """
    if not path.is_file():
        raise ScoreError(f"{path} does not exist. Check the benchmark's source and subjects.")
    rows: list[Row] = []
    # Not splitlines(): it also cuts at U+2028 and its like, which JSON allows inside a text.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ScoreError(f"{path}:{number} is not JSON ({error}). Correct the line.") from None
        wrong = fault(row) if isinstance(row, dict) else "is not a JSON object"
        if wrong:
            raise ScoreError(f"{path}:{number} {wrong}. Correct the row.")
        rows.append(row)
    if not rows:
        raise ScoreError(f"{path} holds no questions. Check the benchmark's source.")
    return rows


def turns_fault(row: Row, *, chat_template: bool) -> str | None:
    """Say what is wrong with the turns of a row, or return None.

    Args:
        row: Has either `prompt` (and maybe `system`) or `messages`.
        chat_template: Whether prompts go through the chat template.
    """
    if ("prompt" in row) == ("messages" in row):
        return "needs either `prompt` or `messages`"
    if not chat_template and ("messages" in row or row.get("system")):
        return "has turns (`messages` or `system`), which need `chat_template: true`"
    if "prompt" in row:
        return None if is_text(row["prompt"]) else "has no text in `prompt`"
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        return "has no turns in `messages`"
    for message in messages:
        turn = message if isinstance(message, dict) else {}
        if not is_text(turn.get("role")) or not isinstance(turn.get("content"), str):
            return "has a turn in `messages` without `role` and `content`"
    return None if messages[-1]["role"] == "user" else "must end with a user's turn"


def messages_of(row: Row) -> list[Message]:
    """Return the conversation that a question's row asks the model to go on with."""
    if "messages" in row:
        return [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return [*system, {"role": "user", "content": row["prompt"]}]


def is_text(value: object) -> bool:
    """Tell whether *value* is a text that holds more than white space."""
    return isinstance(value, str) and bool(value.strip())

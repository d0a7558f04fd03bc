"""Rows of questions in JSON lines, checked one by one: the part that needs no library."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from scripts.lib.errors import ScoreError

QUESTIONS_FILE = "questions.jsonl"

# Names of choices, in order; MMLU uses the first four.
LETTERS = ascii_uppercase
MMLU_CHOICES = 4

_SUBJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path} is not UTF-8 ({error}). Save it as UTF-8.") from None
    rows: list[Row] = []
    # Not splitlines(): it also cuts at U+2028 and its like, which JSON allows inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
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


def choice_fault(row: Row) -> str | None:
    """Say what is wrong with a multiple-choice row, or return None."""
    return _choice_fault(row, range(2, len(LETTERS) + 1), "2 or more")


def mmlu_fault(row: Row) -> str | None:
    """Say what is wrong with a row in MMLU's form, or return None."""
    return _choice_fault(row, (MMLU_CHOICES,), str(MMLU_CHOICES))


def _choice_fault(row: Row, counts: Sequence[int], words: str) -> str | None:
    if not is_text(row.get("question")):
        return "has no text in `question`"
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(choices, list) or len(choices) not in counts:
        return f"needs a list of {words} texts in `choices`"
    if not all(isinstance(choice, str) for choice in choices):
        return "has a choice that is not a text"
    # Not isinstance: bool is an int in Python, and `true` would silently mean answer B.
    if type(answer) is not int or answer not in range(len(choices)):
        return f"needs a whole number from 0 to {len(choices) - 1} in `answer`, not {answer!r}"
    return None


def answer_fault(row: Row, *, chat_template: bool) -> str | None:
    """Say what is wrong with a row whose answer is generated and compared, or return None.

    Args:
        row: Has `answer` and its turns.
        chat_template: Whether prompts go through the chat template.
    """
    if not is_text(row.get("answer")):
        return "has no text in `answer`"
    return turns_fault(row, chat_template=chat_template)


def prompt_fault(row: Row) -> str | None:
    """Say what is wrong with a prompt whose answers are judged, or return None."""
    for key in ("reference", "category"):
        if row.get(key) is not None and not is_text(row[key]):
            return f"has something else than text in `{key}`"
    return turns_fault(row, chat_template=True)


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


def is_subject(name: str) -> bool:
    """Tell whether the name of a subject can be the stem of its file."""
    return bool(_SUBJECT.fullmatch(name))


def is_text(value: object) -> bool:
    """Tell whether *value* is a text that holds more than white space."""
    return isinstance(value, str) and bool(value.strip())

"""Rows of questions in JSON, checked one by one: the part that needs no library."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from scripts.lib.data.records import is_array
from scripts.lib.errors import ScoreError
from scripts.lib.questions.bad_rows import (
    NEEDS_TEMPLATE,
    UNREADABLE,
    BadRow,
    Fault,
    FaultOf,
    Rows,
    what_stops,
)

QUESTIONS_FILE = "questions.jsonl"

# Names of choices, in order.
LETTERS = ascii_uppercase

BROKEN_CHARACTERS = Fault(
    "broken_characters", "has half of a character (a surrogate alone), which is no text"
)

_NO_PROMPT = "has no text in `prompt`"

_SUBJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Row = Mapping[str, Any]
Turn = dict[str, str]


def read_rows(path: Path, fault: FaultOf) -> list[Row]:
    """Return the rows of a file of JSON lines, or of one JSON array; every one has to be good.

    Args:
        path: The file.
        fault: Says what is wrong with a row, or None.

    Raises:
        ScoreError: The file is missing, empty, or rows are wrong, with file and lines.
    """
    if not path.is_file():
        raise ScoreError(f"{path} does not exist. Check the benchmark's source and subjects.")
    rows = sort_rows(path, fault)
    if text := what_stops([rows], None):
        raise ScoreError(text)
    return list(rows.good)


def sort_rows(path: Path, fault: FaultOf) -> Rows[Row]:
    """Return the rows of a file of JSON lines, or of one JSON array, the bad ones apart.

    Args:
        path: An existing file.
        fault: Says what is wrong with a row, or None.
    """
    good: list[Row] = []
    bad: list[BadRow] = []
    array = is_array(path)
    for number, row in _array(path) if array else _lines(path):
        if isinstance(row, Fault):
            bad.append(BadRow(number, row))
        elif wrong := fault(row):
            bad.append(BadRow(number, wrong))
        else:
            good.append(row)
    return Rows(path, good, bad, on_lines=not array)


def _array(path: Path) -> Iterator[tuple[int, Row | Fault]]:
    """Yield each value of an array with its place, from 1."""
    try:
        values = json.loads(path.read_bytes().removeprefix(BOM_UTF8).decode())
    except (ValueError, RecursionError) as error:
        values = [Fault(UNREADABLE, f"cannot be read, nor what follows: it is no JSON ({error})")]
    for number, value in enumerate(values, start=1):
        yield number, value if isinstance(value, Fault) else _checked(value)


def _lines(path: Path) -> Iterator[tuple[int, Row | Fault]]:
    """Yield the value of each line that is not blank, with its number."""
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            yield number, _parsed(line)


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a text file without their ends and without a byte order mark.

    Not as splitlines() does: it also cuts at U+2028 and its like, which JSON allows inside a text.
    """
    return path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")


def _parsed(line: bytes) -> Row | Fault:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return Fault(UNREADABLE, f"is not UTF-8 ({error}); save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return Fault(UNREADABLE, f"is not JSON ({error})")
    return _checked(row, escaped=rb"\u" in line)


def _checked(row: Any, *, escaped: bool = True) -> Row | Fault:
    """Return a parsed row if it is one; only JSON's escapes can write half of a character."""
    if not isinstance(row, dict):
        return Fault(UNREADABLE, "is not a JSON object")
    if escaped and not is_unicode(json.dumps(row, ensure_ascii=False)):
        return BROKEN_CHARACTERS
    return row


def turns_fault(row: Row, *, chat_template: bool) -> Fault | None:
    """Say what is wrong with the turns of a row, or return None.

    Args:
        row: Has either `prompt` (and maybe `system`) or `messages`.
        chat_template: Whether prompts go through the chat template.
    """
    wrong = _turns_fault(row)
    if wrong is None and not chat_template and ("messages" in row or row.get("system")):
        text = "has turns (`messages` or `system`), which need `chat_template: true`"
        return Fault(NEEDS_TEMPLATE, text)
    return wrong


def _turns_fault(row: Row) -> Fault | None:
    if ("prompt" in row) == ("messages" in row):
        reason = "prompt_and_turns" if "prompt" in row else "without_prompt"
        return Fault(reason, "needs either `prompt` or `messages`")
    if "prompt" in row:
        if not isinstance(row.get("system"), str | None):
            return Fault("unusable_turns", "has something else than text in `system`")
        return None if is_text(row["prompt"]) else Fault("without_prompt", _NO_PROMPT)
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        return Fault("unusable_turns", "has no turns in `messages`")
    for message in messages:
        turn = message if isinstance(message, dict) else {}
        if not is_text(turn.get("role")) or not isinstance(turn.get("content"), str):
            return Fault("unusable_turns", "has a turn in `messages` without `role` and `content`")
    if messages[-1]["role"] != "user":
        return Fault("unusable_turns", "must end with a user's turn")
    return None


def messages_of(row: Row) -> list[Turn]:
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


def is_unicode(text: str) -> bool:
    """Tell whether *text* holds whole characters only, as JSON's escapes need not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

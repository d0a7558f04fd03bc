"""Map the columns of a raw row, and the keys of its turns, onto those that the layouts read.

`columns` says where each comes from: a column, a path into nested objects (`meta.text`, `turns.0`)
or a format string over several (`"Question: {question} Context: {context}"`, braces doubled
where they are meant). `tags` says what turns call their keys and speakers.
"""

import difflib
import json
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from scripts.lib.data.layouts import (
    COMPLETION_COLUMNS,
    PROMPT_COLUMNS,
    TURN_COLUMNS,
    Format,
    LayoutName,
)
from scripts.lib.data.records import UnusableRow

Columns = Mapping[str, str]
"""Key of a layout -> where its value is: a column, a path, or a format string."""

Tags = Mapping[str, str | Sequence[str]]
"""`role` and `content` -> the key of a turn; a speaker -> its spellings in the rows."""

SHAPES: Mapping[LayoutName, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "input", "output", "history"),
}
"""The keys that columns are mapped onto, by the layout that they make; `system` and `tools` go with
each."""

LISTS = ("messages", "history", "tools")
"""Keys whose values are no texts."""

OPTIONAL = ("input", "history", "system", "tools")
"""Keys that a row may go without."""

SPEAKERS = ("system", "user", "assistant", "tool", "function_call")
_FORMATTER = string.Formatter()
# Columns that people call by many names, most telling first; for the proposal of a mapping.
_ASKED = ("question", "query", "instruction", "prompt", "problem", "input", "user", "human", "q")
_ANSWERED = (
    *("answer", "response", "reply", "completion", "output", "solution", "target"),
    *("ans", "a"),
)
_SPOKEN = ("dialog", "dialogue", "chat", "turns", "utterances", "convs", "history")
_TEXTS = ("text", "content", "body", "document")


def map_columns(record: object, columns: Columns | None, tags: Tags | None) -> object:
    """Return a raw row with the columns and keys that layouts read.

    A column that was mapped is gone from under its own name; others stay as they are.

    Args:
        record: The row as published.
        columns: Where the values are, or None.
        tags: What turns call their keys and speakers, or None.

    Returns:
        The row. Example: with `{"prompt": "Q: {q}", "completion": "a"}`, the row
        `{"q": "1+1?", "a": "2"}` becomes `{"prompt": "Q: 1+1?", "completion": "2"}`.

    Raises:
        UnusableRow: If a column that is needed has no value.
    """
    if not isinstance(record, Mapping):
        return record
    row = dict(record)
    if columns:
        found = {key: _value(record, key, source) for key, source in columns.items()}
        row = _unused(record, {name for source in columns.values() for name in fields_of(source)})
        for key, value in found.items():
            if key in row:  # so that it is told as a key that was not used
                row[f"{key} (of the row)"] = row.pop(key)
            if value is not None:
                row[key] = value
    if tags:
        for name in (*TURN_COLUMNS, *PROMPT_COLUMNS, *COMPLETION_COLUMNS):
            if name in row:
                row[name] = _with_roles(row[name], tags)
    return row


def _unused(record: Mapping[str, Any], used: Collection[str]) -> dict[str, Any]:
    """Return what of a row is not mapped; of an object from which something is, by its path."""
    row = {key: value for key, value in record.items() if key not in used}
    for path in used:
        head, dot, _ = path.partition(".")
        if path in record or not dot or head not in row:
            continue
        inner = row.pop(head)
        taken = {other.split(".")[1] for other in used if other.startswith(f"{head}.")}
        if isinstance(inner, Mapping):
            row |= {f"{head}.{key}": value for key, value in inner.items() if key not in taken}
    return row


def mapped_layout(layout: Format, columns: Columns | None, tags: Tags | None) -> Format:
    """Return the layout of rows that were mapped: what they were mapped onto decides."""
    shapes = {name for name, keys in SHAPES.items() if not {*keys}.isdisjoint(columns or ())}
    if tags and layout in ("messages", "sharegpt"):
        return "sharegpt" if "function_call" in tags else "messages"
    return layout if not shapes or "messages" in shapes else min(shapes)


def is_format_string(source: str) -> bool:
    """Tell whether a mapped value is a format string and no column's name."""
    return "{" in source or "}" in source


@cache
def fields_of(source: str) -> tuple[str, ...]:
    """Return the columns that one value of `columns` reads.

    Raises:
        ValueError: It is a format string with a single brace, or more than a name within braces.
    """
    return (
        tuple(name for _, name in _parts(source) if name) if is_format_string(source) else (source,)
    )


@cache
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """Return the pieces of a format string: a text, and the column that comes after it or None."""
    parts = []
    for text, name, form, conversion in _FORMATTER.parse(template):
        if name is not None and (not name or form or conversion):
            raise ValueError("a column's name stands alone in its braces, as in {question}")
        parts.append((text, name))
    return tuple(parts)


def _value(record: Mapping[str, Any], key: str, source: str) -> Any:
    """Return the value of one key; None where it may be left out and is not there."""
    value = _filled(record, source) if is_format_string(source) else look_up(record, source)
    if value is None and key not in OPTIONAL:
        names = ", ".join(f"`{name}`" for name in fields_of(source))
        raise UnusableRow("missing_field", f"there is no value in {names}, to be its {key}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number and key not in LISTS else value


def _filled(record: Mapping[str, Any], template: str) -> str | None:
    """Return a format string with its columns filled in; None where one has no value.

    Columns that are all blank are no value either: a question is not asked by its heading alone.
    """
    values = {name: look_up(record, name) for name in fields_of(template)}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise UnusableRow("content_is_not_text", f"`{name}` is not text, to be put into one")
    if None in values.values() or not any(str(value).strip() for value in values.values()):
        return None
    return "".join(
        text + ("" if name is None else str(values[name])) for text, name in _parts(template)
    )


def look_up(record: Mapping[str, Any], path: str) -> Any:
    """Return what stands in a column, or further down where its name has dots; None if nothing."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _with_roles(value: Any, tags: Tags) -> Any:
    """Return turns with the usual keys and speakers; what is no list of turns is left as it is."""
    turns = value
    if isinstance(value, str):
        try:
            turns = json.loads(value)
        except (ValueError, RecursionError):
            return value
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        return value
    # Only ShareGPT's keys know of a speaker who calls a function.
    keys = ("from", "value") if "function_call" in tags else ("role", "content")
    spelled = {word: speaker for speaker in SPEAKERS for word in _words(tags.get(speaker, ()))}
    return [_with_role(turn, tags, keys, spelled) for turn in turns]


def _with_role(
    turn: Mapping[str, Any], tags: Tags, keys: tuple[str, str], spelled: Mapping[str, str]
) -> dict[str, Any]:
    role, content = (
        _own_key(turn, tags, tag, usual) for tag, usual in (("role", "from"), ("content", "value"))
    )
    speaker = look_up(turn, role)
    if speaker is None:
        raise UnusableRow("unknown_role", f"a turn does not say in `{role}` who speaks")
    rest = {key: value for key, value in turn.items() if key not in (role, content)}
    for path in (role, content):
        rest.pop(path.partition(".")[0], None)
    said = look_up(turn, content)
    return {**rest, keys[0]: spelled.get(str(speaker), speaker), keys[1]: said}


def _own_key(turn: Mapping[str, Any], tags: Tags, tag: str, usual: str) -> str:
    """Return the key of a turn for *tag*: the one that is set, or whichever usual one is there."""
    own = tags.get(tag)
    if isinstance(own, str):
        return own
    return usual if usual in turn else tag


def _words(spellings: str | Sequence[str]) -> Sequence[str]:
    return (spellings,) if isinstance(spellings, str) else spellings


def columns_asked(columns: Columns | None, split_by: str | None = None) -> dict[str, str]:
    """Return the columns that settings name, each with the setting that does."""
    asked: dict[str, str] = {}
    for key, source in (columns or {}).items():
        for name in fields_of(source):
            asked.setdefault(name, f"columns.{key}")
    if split_by is not None:
        asked.setdefault(split_by, "split_by")
    return asked


def absent_columns(asked: Collection[str], rows: Iterable[object]) -> tuple[set[str], set[str]]:
    """Look for columns, no further than needed.

    Args:
        asked: Their names.
        rows: The rows as published.

    Returns:
        The columns that no row has, and the columns of the rows that were looked at.
    """
    absent = set(asked)
    there: dict[str, None] = {}
    for row in rows if absent else ():
        if isinstance(row, Mapping):
            there |= dict.fromkeys(map(str, row))
            absent = {name for name in absent if not _has(row, name)}
            if not absent:
                break
    return absent, set(there)


def _has(row: Mapping[str, Any], name: str) -> bool:
    return name in row or look_up(row, name) is not None


def absent_words(asked: Mapping[str, str], absent: Collection[str], there: Collection[str]) -> str:
    """Say which columns no row has, which there are, and which may be meant.

    Args:
        asked: Column -> the setting that names it.
        absent: Those of them that no row has.
        there: The columns of the rows.
    """
    lines = []
    for name in sorted(absent):
        near = difflib.get_close_matches(name, sorted(there), n=1)
        hint = f" (did you mean `{near[0]}`?)" if near else ""
        lines.append(f"no row has the column `{name}`, which `{asked[name]}` names{hint}")
    return f"{'; '.join(lines)}; their columns are {', '.join(sorted(there)) or 'none'}"


def proposal(columns: Iterable[object]) -> str:
    """Return what would map these columns, in words; the names are guessed from."""
    names = {str(column).lower(): str(column) for column in columns}
    asked, answered, spoken = (
        next(_named(names, words), None) for words in (_ASKED, _ANSWERED, _SPOKEN)
    )
    if asked and answered:
        return _mapping({"prompt": asked, "completion": answered})
    if spoken:
        return _mapping({"messages": spoken})
    if next(_named(names, _TEXTS), None) and not asked and not answered:
        return (
            "plain text has no turns, and a chat model learns answers: give what is asked and what"
            " is answered columns of their own, then "
            + _mapping({"prompt": "<what is asked>", "completion": "<the answer>"})
        )
    return _mapping(
        {"prompt": asked or "<what is asked>", "completion": answered or "<the answer>"}
    )


def _named(names: Mapping[str, str], words: Sequence[str]) -> Iterator[str]:
    """Yield the columns that are called one of *words*, then those that hold one in their name."""
    yield from (names[word] for word in words if word in names)
    parts = {own: name.split("_") for name, own in names.items()}
    yield from (own for word in words for own in parts if len(word) > 1 and word in parts[own])


def _mapping(columns: Columns) -> str:
    return f"`columns: {{{', '.join(f'{key}: {name}' for key, name in columns.items())}}}`"

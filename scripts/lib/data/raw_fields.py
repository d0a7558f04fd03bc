"""Keys and values of raw rows: which keys are read, and which values hold nothing.

key of a row or a turn                    value       what becomes of it
---------------------------------------   ---------   ----------------------------------------
read by the layout of the row             any         it is used, or the row says why not
in HARMLESS_KEYS                          any         nothing: it says nothing to be learnt
any other, repeats the conversation       a text      nothing: it is trained already
any other                                 nothing     nothing: null, NaN, empty
any other                                 any other   counted as ignored, by its name
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scripts.lib.data.records import UnusableRow

HARMLESS_KEYS = frozenset(
    (
        # What a row or a turn is called
        *("id", "idx", "index", "uuid", "guid", "hash", "row_id", "sample_id", "example_id"),
        *("question_id", "prompt_id", "conversation_id", "dialogue_id", "message_id", "turn_id"),
        *("__index_level_0__", "Unnamed: 0"),  # the index of a data frame
        # Where it comes from
        *("source", "origin", "dataset", "dataset_name", "subset", "split", "url", "license"),
        *("timestamp", "created", "created_at", "date", "metadata", "meta"),
        # What it is about
        *("category", "topic", "tags", "task", "domain", "language", "lang"),
    )
)
"""Keys of rows and turns that are known to say nothing about what is to be learnt."""


EMPTY_TEXTS = ("[]", "{}", "null")  # as tables of text hold what is empty
DEPTH_LIMIT = 64  # levels; no published tool comes near


class Fields:
    """An object of a raw row, that knows which of its keys were asked for.

    Args:
        values: The object.
        path: Where it stands in its row, '' for the row itself.
    """

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self.values = values
        self._path = path
        self._read: set[str] = set()
        self._below: list[Fields] = []
        self._notes: list[str] = []

    def get(self, key: str) -> Any:
        """Return a value, or None where there is none; NaN is none, as data frames write it."""
        self._read.add(key)
        value = self.values.get(key)
        return None if isinstance(value, float) and math.isnan(value) else value

    def first(self, keys: Iterable[str]) -> tuple[str, Any] | None:
        """Return the first of *keys* that has a value, with it; the others are not read."""
        for key in keys:
            if key in self.values and (value := self.get(key)) is not None:
                return key, value
        return None

    def holds(self, key: str) -> bool:
        """Tell whether a key has a value that is not empty, without reading it."""
        return key in self.values and not holds_nothing(self.values[key])

    def inside(self, key: str, values: Mapping[str, Any]) -> "Fields":
        """Return an object that stands in this one; what is not read of it is ignored here."""
        below = Fields(values, f"{self._path}{key}.")
        self._below.append(below)
        return below

    def note(self, words: str) -> None:
        """Count something as ignored though its key was read."""
        self._notes.append(f"{self._path}{words}")

    def ignored(self) -> Iterator[str]:
        """Yield the keys that hold something and were not asked for, here and below."""
        for key in self.values:
            if key not in self._read and key not in HARMLESS_KEYS and self.holds(key):
                yield f"{self._path}{key}"
        yield from self._notes
        for below in self._below:
            yield from below.ignored()


def is_nan(value: object) -> bool:
    """Tell whether a value is the number that data frames write for none."""
    return isinstance(value, float) and math.isnan(value)


def holds_nothing(value: object) -> bool:
    """Tell whether a value is null, NaN, empty, an object or list of these, or the JSON of such."""
    if isinstance(value, str | bytes):
        return not value.strip() or value in EMPTY_TEXTS
    if value is None or is_nan(value):
        return True
    if isinstance(value, Mapping):
        return all(map(holds_nothing, value.values()))
    return isinstance(value, list | tuple) and all(map(holds_nothing, value))


def parsed(value: Any, where: str, *, reason: str = "column_is_not_json") -> Any:
    """Return *value*, read as JSON if it is text (CSV and some dumps hold lists as text)."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnusableRow(reason, f"`{where}` is not JSON: {error}") from error


def json_value(value: Any, where: str, *, depth: int = 0) -> Any:
    """Return a value that JSON can say; NaN is null.

    Args:
        value: From a raw row.
        where: What it is, for the error.
        depth: In how many objects and lists it stands.

    Raises:
        UnusableRow: It holds what JSON has not, such as a date or infinity, or is nested so deep
            that templates could not write it.
    """
    if depth > DEPTH_LIMIT:
        raise UnusableRow("nested_too_deep", f"`{where}` has over {DEPTH_LIMIT} levels")
    if isinstance(value, Mapping):
        return {str(key): json_value(cell, where, depth=depth + 1) for key, cell in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(cell, where, depth=depth + 1) for cell in value]
    if is_nan(value):
        return None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise UnusableRow(
        "value_is_not_json", f"`{where}` holds {type(value).__name__} {str(value)[:40]!r}"
    )

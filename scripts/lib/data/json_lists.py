"""JSON whose rows are the one list in one object, such as `{"version": 1, "data": [{...}, ...]}`.

Nothing but single values is held in memory, so that such a file may have any size.
"""

import io
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from scripts.lib.data.packed_files import opened
from scripts.lib.errors import RecordError

CHUNK_CHARACTERS = 1 << 20
_SPACE = " \t\r\n"
# An object with one of these is a row itself.
_COLUMNS = frozenset({"messages", "conversations", "conversation", "prompt", "instruction"})


def key_of_rows(path: Path) -> str | None:
    """Return the key under which a file of JSON has its rows; None where they are not under one.

    Raises:
        RecordError: Several keys have rows.
    """
    stat = path.stat()
    keys = _keys_of_rows(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if len(keys) > 1:
        raise RecordError(
            f"{path} has lists of rows under {', '.join(keys)}: write each as a file of its own, as"
            f" by `jq '.{keys[0]}' {path.name} > {keys[0]}.json`"
        )
    return keys[0] if keys else None


def rows_under(path: Path, key: str) -> Iterator[Any]:
    """Yield the objects of the list under *key*.

    Raises:
        RecordError: The list does not end.
    """
    with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        scanner = _Scanner(text)
        for name in scanner.members():
            if name == key:
                yield from scanner.elements()
                return
            scanner.value()


# Planning looks at a file more than once.
@lru_cache(maxsize=64)
def _keys_of_rows(path: Path, *_: int) -> tuple[str, ...]:
    """Return the keys of lists of objects, if the file is one object; its stat stands for it."""
    found: list[str] = []
    with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        scanner = _Scanner(text)
        if scanner.next() != "{":
            return ()
        try:
            for name in scanner.members():
                if name in _COLUMNS:
                    return ()
                if scanner.next() != "[":
                    scanner.value()
                    continue
                kinds = {type(element) for element in scanner.elements()}
                if kinds == {dict}:
                    found.append(name)
        except (ValueError, RecursionError):
            return ()  # reading it will say what is wrong
        if scanner.next():
            return ()  # more objects follow: each is a row
    return tuple(found)


class _Scanner:
    """Reads a text of JSON value by value."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._decoder = json.JSONDecoder()
        self._buffer, self._place = "", 0

    def next(self) -> str:
        """Return the next character that is no white space, without taking it; "" at the end."""
        while True:
            while self._place < len(self._buffer):
                if (character := self._buffer[self._place]) not in _SPACE:
                    return character
                self._place += 1
            if not self._more(CHUNK_CHARACTERS):
                return ""

    def take(self, wanted: str) -> bool:
        """Take the next character if it is *wanted*."""
        if self.next() != wanted:
            return False
        self._place += 1
        return True

    def value(self) -> Any:
        """Take the next value.

        Raises:
            ValueError: There is none.
        """
        self.next()
        size = CHUNK_CHARACTERS
        while True:
            try:
                value, after = self._decoder.raw_decode(self._buffer, self._place)
            except ValueError:
                # A value longer than a chunk doubles what is read, so that this stays linear.
                if not self._more(size):
                    raise
                size *= 2
                continue
            start, whole = self._place, after < len(self._buffer)
            if not whole and self._more(size):
                continue  # a number may go on
            self._place = after if whole else after - start
            return value

    def members(self) -> Iterator[str]:
        """Yield the keys of an object; the value of each is to be taken before the next.

        Raises:
            ValueError: It is none.
        """
        if not self.take("{"):
            raise ValueError("it is no object")
        while not self.take("}"):
            key = self.value()
            if not isinstance(key, str) or not self.take(":"):
                raise ValueError("it is no object")
            yield key
            if not self.take(",") and self.next() != "}":
                raise ValueError("an object is cut short")

    def elements(self) -> Iterator[Any]:
        """Take a list, and yield its elements.

        Raises:
            ValueError: It does not end.
        """
        self.take("[")
        while not self.take("]"):
            yield self.value()
            if not self.take(",") and self.next() != "]":
                raise ValueError("a list is cut short")

    def _more(self, size: int) -> bool:
        more = self._text.read(size)
        self._buffer = self._buffer[self._place :] + more
        self._place = 0
        return bool(more)

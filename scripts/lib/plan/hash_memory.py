"""The hashes of local files, taken once and remembered by stat."""

import time
from pathlib import Path
from typing import Any

from scripts.lib.files import read_json, sha256_of, stat_of, write_json

SETTLED_SECONDS = 2.0
"""A file whose inode changed less than this before its hash began is hashed again next time: a
second change within one tick of the clock would not show in the stat (file systems tick at up to
two seconds)."""


class HashMemory:
    """The sha256 of local files, taken once and remembered by stat in one JSON file.

    Only the main process writes it, in one step, so it needs no lock.
    """

    def __init__(self, path: Path) -> None:
        """Read what earlier runs remembered in *path*; a damaged memory is an empty one."""
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        try:
            known = read_json(path)
        except (OSError, ValueError):
            known = None
        if isinstance(known, dict):
            self._known = {
                name: entry
                for name, entry in known.items()
                if isinstance(entry, list) and len(entry) == 2
            }

    def sha256(self, path: Path) -> str:
        """Return the sha256 of *path*, read again only when its stat differs from the known one."""
        name = str(path.resolve())
        stat = stat_of(path)
        known = self._known.get(name)
        if known and known[0] == list(stat):
            return str(known[1])
        began = time.time()
        value = sha256_of(path)
        if began - stat.ctime_ns / 1e9 > SETTLED_SECONDS:
            self._known[name] = [list(stat), value]
            self._changed = True
        return value

    def save(self) -> None:
        """Write the memory when something in it is new."""
        if self._changed:
            write_json(self._path, self._known)
            self._changed = False

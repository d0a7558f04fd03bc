"""What planning remembers: hashes of local files, what checks found in them, digests of code."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.canonical import digest
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


class CheckMemory:
    """Answers about the contents of files, in one JSON file.

    What did not pass is never remembered, so that an error comes again until it is corrected. Only
    the main process writes it, in one step, so it needs no lock.
    """

    def __init__(self, path: Path | None = None, code: str = "") -> None:
        """Read what earlier runs remembered; a damaged memory is an empty one.

        Args:
            path: The file; None to remember for this process only.
            code: Digest of the programs whose checks these are: other code may find otherwise.
        """
        self._path = path
        self._code = code
        self._changed = False
        try:
            known = read_json(path) if path else {}
        except (OSError, ValueError):
            known = {}
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def recall(self, question: Any, find: Callable[[], Any]) -> Any:
        """Return what *find* returns, calling it only where this question was never answered.

        Args:
            question: All that the answer depends on, the hashes of files among it; as JSON.
            find: Finds the answer, which is JSON too; what it raises is not kept.
        """
        key = digest([question, self._code])
        if key not in self._known:
            self._known[key] = find()
            self._changed = True
        return self._known[key]

    def save(self) -> None:
        """Write the memory when something in it is new."""
        if self._path and self._changed:
            write_json(self._path, self._known)
            self._changed = False


class CodeMemory:
    """Digests of a project's code as it stands, in one JSON file.

    Parsing what every program imports takes most of a start; reading the files' bytes takes a
    hundredth of it. When any file below scripts/ differs, all is computed anew.
    """

    def __init__(self, path: Path, root: Path) -> None:
        """Read what an earlier run found; a damaged memory is an empty one.

        Args:
            path: The file.
            root: The project's folder.
        """
        self._path = path
        self._project = ProjectCode(root)
        self._state = _state_of(root)
        self._changed = False
        try:
            known = read_json(path)
        except (OSError, ValueError):
            known = None
        found = known.get("digests") if isinstance(known, dict) else None
        same = isinstance(known, dict) and known.get("state") == self._state
        self._known: dict[str, str] = found if same and isinstance(found, dict) else {}

    def digest(self, rule: str, kinds: Sequence[str] = ()) -> str:
        """Return what `ProjectCode.digest` does."""
        return self._recall(" ".join([rule, *kinds]), lambda: self._project.digest(rule, kinds))

    def digest_of(self, path: Path) -> str:
        """Return what `ProjectCode.digest_of` does."""
        place = path.relative_to(self._project.root).as_posix()
        return self._recall(place, lambda: self._project.digest_of(path))

    def _recall(self, name: str, find: Callable[[], str]) -> str:
        if not isinstance(self._known.get(name), str):
            self._known[name] = find()
            self._changed = True
        return self._known[name]

    def save(self) -> None:
        """Write the memory when something in it is new."""
        if self._changed:
            write_json(self._path, {"state": self._state, "digests": self._known})
            self._changed = False


def _state_of(root: Path) -> str:
    """Return a digest of every file below scripts/ that a digest of code can depend on."""
    files = (
        (path.relative_to(root).as_posix(), sha256_of(path))
        for path in sorted((root / "scripts").rglob("*"))
        if "__pycache__" not in path.parts and path.is_file()
    )
    return digest([sys.version_info[:2], *files])

"""What planning found where it read local files as a whole, remembered by their content."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.lib.canonical import digest
from scripts.lib.files import read_json, write_json


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

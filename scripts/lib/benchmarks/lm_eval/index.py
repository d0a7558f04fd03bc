"""The tasks that lm-eval brings, found by name without reading all of its 14,000 files.

lm-eval's own `TaskManager` parses every file first, which takes a minute. A name of a task, a group
or a tag stands in the files that define it, or in a file that those include; so only files with
that word, and what includes them, are parsed here, by lm-eval's own functions and in its order.
"""

import difflib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import lm_eval.tasks
from lm_eval.tasks._index import _IGNORE_DIRS, Entry, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from scripts.lib.errors import ConfigError

TASKS_FOLDER = Path(lm_eval.tasks.__file__).parent

_INCLUDE = re.compile(r"""^\s*["']?include["']?\s*:\s*(.*(?:\n\s*-.*)*)""", re.MULTILINE)
_NAME = re.compile(r"""^\s*(?:-\s+)?(?:task|group|tag)\s*:\s*["']?([\w.:-]+)""", re.MULTILINE)

_log = logging.getLogger("lm_eval")


class NameIndex(dict[str, Entry]):
    """What `TaskManager` calls its index, filled with a name when that is first asked for."""

    def __init__(self, folder: Path = TASKS_FOLDER) -> None:
        """Read the texts below *folder*; none is parsed yet."""
        super().__init__()
        self._texts = {
            path: path.read_text(encoding="utf-8", errors="replace")
            for path in sorted(folder.rglob("*yaml"), key=lambda path: path.as_posix())
            if path.is_file() and not _IGNORE_DIRS & set(path.parts)
        }
        self._known: set[str] = set()
        self._includers: dict[str, list[Path]] = {}
        for path, text in self._texts.items():
            for included in _INCLUDE.findall(text):
                for word in re.findall(r"""[^\s"'\[\],]+""", included):
                    self._includers.setdefault(Path(word).name, []).append(path)

    def __contains__(self, name: object) -> bool:
        """Tell whether a task, group or tag has this name."""
        return isinstance(name, str) and self._find(name)

    def __missing__(self, name: str) -> Entry:
        """Find what was not asked for before."""
        if not self._find(name):
            raise KeyError(name)
        return self[name]

    def entry(self, name: str) -> Entry:
        """Return the entry of a task, group or tag.

        Raises:
            ConfigError: lm-eval has none of this name; with the names that are like it.
        """
        if name in self:
            return self[name]
        names = {found for text in self._texts.values() for found in _NAME.findall(text)}
        near = difflib.get_close_matches(name, sorted(names), n=4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"lm-eval {lm_eval.__version__} has no task or group of this name{hint}")

    def _find(self, name: str) -> bool:
        if name not in self._known:
            self._known.add(name)
            entries: dict[str, Entry] = {}
            for path in self._candidates(name):
                try:
                    TaskIndex.process_cfg(load_yaml(path, resolve_func=False), path, entries)
                # Whatever lm-eval cannot read it leaves out, and so do we.
                except Exception as error:
                    _log.debug("%s is left out: %s", path, error)
            if name in entries:
                self.setdefault(name, entries[name])
        return super().__contains__(name)

    def _candidates(self, name: str) -> list[Path]:
        """Return the files that can define *name*, in lm-eval's order."""
        word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
        pending = [path for path, text in self._texts.items() if name in text and word.search(text)]
        found = set[Path]()
        while pending:
            path = pending.pop()
            if path not in found:
                found.add(path)
                pending += self._includers_of(path)
        return sorted(
            (path for path in found if path.suffix == ".yaml"), key=lambda path: path.as_posix()
        )

    def _includers_of(self, path: Path) -> Iterator[Path]:
        for includer in self._includers.get(path.name, ()):
            # Many folders have a template of the same name.
            if path.parent == includer.parent or ".." in self._texts[includer]:
                yield includer

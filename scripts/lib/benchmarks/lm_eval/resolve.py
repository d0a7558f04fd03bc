"""Names of tasks and groups, or a user's own YAML files -> the tasks that are really asked.

A task is kept as the file that defines it and what groups change in it, so that it can be built
anywhere with the same lm-eval.

Names are found without reading all of lm-eval's 14,000 files. Its own `TaskManager` parses every
file first, which takes a minute. A name of a task, a group or a tag stands in the files that define
it, or in a file that those include; so only files with that word, and what includes them, are
parsed here, by lm-eval's own functions and in its order.
"""

import difflib
import functools
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.config.task import TaskConfig
from lm_eval.tasks import _factory
from lm_eval.tasks._index import _IGNORE_DIRS, Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import _load_module_with_cache, load_yaml

from scripts.lib.benchmarks.lm_eval.environment import local_environment
from scripts.lib.benchmarks.lm_eval.layout import OWN_FOLDER
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
        self._texts, self._includers = _read_texts(folder)
        self._known: set[str] = set()

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


@functools.cache
def _read_texts(folder: Path) -> tuple[Mapping[Path, str], Mapping[str, Sequence[Path]]]:
    """Return the YAML files below a folder with their texts, and name -> those that include it.

    Read once, which takes more than a second: a config can name many benchmarks of lm-eval.
    """
    texts = {
        path: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*yaml"), key=lambda path: path.as_posix())
        if path.is_file() and not _IGNORE_DIRS & set(path.parts)
    }
    includers: dict[str, list[Path]] = {}
    for path, text in texts.items():
        for included in _INCLUDE.findall(text):
            for word in re.findall(r"""[^\s"'\[\],]+""", included):
                includers.setdefault(Path(word).name, []).append(path)
    return texts, includers


_FUNCTION = "!function"

# What says where the rows of a task come from.
_DATA = {"dataset_path", "custom_dataset"}


@dataclass(frozen=True)
class Leaf:
    """One task that is asked.

    Attributes:
        name: Its name.
        yaml: Folder (`lm_eval` for those it brings, `own` for a user's) and path below it of the
            file that defines it; None for one that stands inside a group's file.
        overrides: What the groups above it change, or all of it where there is no file.
        error: What is wrong with its file, if it cannot be read.
    """

    name: str
    yaml: tuple[str, str] | None
    overrides: Mapping[str, Any]
    error: str | None = None

    def to_json(self, own: Path) -> dict[str, Any]:
        """Return the leaf as JSON; functions by file and name.

        Raises:
            ConfigError: A group changes something that JSON cannot hold.
        """
        return {"name": self.name, "yaml": self.yaml, "overrides": _encoded(self.overrides, own)}

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any], own: Path) -> "Leaf":
        """Build a leaf from parsed JSON; *own* holds the user's files."""
        yaml = mapping["yaml"]
        overrides = _decoded(mapping["overrides"], own)
        return cls(mapping["name"], None if yaml is None else tuple(yaml), overrides)

    def entry(self, own: Path) -> Entry:
        """Return what lm-eval builds the task from."""
        if self.yaml is None:
            return Entry(self.name, Kind.TASK, None, cfg=dict(self.overrides))
        folder, path = self.yaml
        return Entry(self.name, Kind.TASK, (TASKS_FOLDER if folder == "lm_eval" else own) / path)


class _Described(ConfigurableTask):  # type: ignore[misc]  # lm-eval has no types
    """A task that is not built, which would load its data."""

    def __init__(self, config: dict[str, Any], entry: Entry | None = None) -> None:
        self._config = TaskConfig(**config)
        self.overrides = config if entry is None else {}
        self.entry = entry
        self.error: str | None = None


class _Factory(_factory.TaskFactory):  # type: ignore[misc]
    """lm-eval's own walk through groups and tags, which describes tasks instead of building."""

    def _build_task(self, entry: Entry, overrides: dict[str, Any] | None) -> Task:
        own = {key: value for key, value in (overrides or {}).items() if key != "task"}
        try:
            cfg = self._load_full_config(entry, overrides)
            if "class" in cfg:
                raise ConfigError("is written in Python, which is not supported")
            for key in ("tag", "group", "task_list"):
                cfg.pop(key, None)
            task = _Described(cfg, entry)
        # A task's file may import anything, and fail in any way.
        except Exception as error:
            task = _Described({"task": entry.name}, entry)
            task.error = reason_of(error)
        task.overrides = own
        return task


def find_leaves(
    names: Sequence[str], files: Sequence[Path], own: Path, problems: list[str]
) -> list[Leaf]:
    """Return the tasks behind names and files, each once.

    Args:
        names: Tasks, groups and tags that lm-eval brings.
        files: A user's own YAML files of tasks or groups.
        own: The folder that they are in.
        problems: Gets what is wrong, one text for each name or file.
    """
    index, factory = NameIndex(), _Factory()
    entries: dict[str, Entry] = {}
    with _describing(), reading(own.parent):
        for file in files:
            try:
                entry = _entry_of(file)
                entries[entry.name] = index[entry.name] = entry
            except Exception as error:
                problems.append(f"{file.relative_to(own)}: {reason_of(error)}")
        for name in names:
            try:
                entries[name] = index.entry(name)
            except ConfigError as error:
                problems.append(f"{name}: {error}")
        found: dict[str, Leaf] = {}
        for name, entry in entries.items():
            try:
                built = factory.build(entry, registry=index)
            except Exception as error:
                problems.append(f"{name}: {reason_of(error)}")
                continue
            for task in _tasks(built):
                found.setdefault(task.task_name, _leaf(task, own, index))
    return list(found.values())


def _entry_of(file: Path) -> Entry:
    """Return the entry of a user's own file.

    Not by lm-eval's `entry_from_path`: that takes a group's list of tasks for its name.

    Raises:
        ConfigError: It names no task and no group.
    """
    config = load_yaml(file, resolve_func=False)
    kind = TaskIndex._kind_of(config)
    name = config.get("group" if kind is Kind.GROUP else "task")
    if not isinstance(name, str):
        raise ConfigError("names no task and no group")
    return Entry(name, kind, file.resolve())


@contextmanager
def reading(benchmark: Path) -> Iterator[None]:
    """Let tasks that are read meanwhile find what they need, and leave nothing beside them.

    Args:
        benchmark: Folder of the fetched benchmark; the modules of a user's own tasks in it can
            import those beside them.
    """
    own = benchmark / OWN_FOLDER
    folders = sorted({str(place.parent) for place in own.rglob("*.py")}) if own.is_dir() else []
    before, sys.dont_write_bytecode = (list(sys.path), sys.dont_write_bytecode), True
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        with local_environment(benchmark):
            yield
    finally:
        sys.path[:], sys.dont_write_bytecode = before


@contextmanager
def _describing() -> Iterator[None]:
    """Have lm-eval describe also the tasks that stand inside a group's file."""
    honest = _factory.ConfigurableTask
    _factory.ConfigurableTask = _Described
    try:
        yield
    finally:
        _factory.ConfigurableTask = honest


def _tasks(built: Any) -> list[Any]:
    if isinstance(built, Group):
        return list(built.get_all_tasks())
    return list(built) if isinstance(built, list) else [built]


def _leaf(task: Any, own: Path, index: NameIndex) -> Leaf:
    path = task.entry.yaml_path if task.entry else None
    yaml, error = None, task.error
    if path is None and not _DATA & set(task.overrides):
        # lm-eval takes a name that it does not know for a task that stands inside the group's file.
        try:
            index.entry(task.task_name.rpartition("::")[2])
        except ConfigError as unknown:
            error = f"{unknown}; a group reads a task of your own only if `path` lists its file"
    if path is not None:
        builtin = path.is_relative_to(TASKS_FOLDER)
        root = TASKS_FOLDER if builtin else own.resolve()
        yaml = ("lm_eval" if builtin else "own", path.relative_to(root).as_posix())
    return Leaf(task.task_name, yaml, task.overrides, error)


def reason_of(error: Exception) -> str:
    """Say in one line what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ConfigError):
        return lines[0]
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package != error.name and importlib.util.find_spec(package):
            return f"needs the module {error.name!r}, which the installed {package} does not have"
        return f"needs the package {error.name!r}, which is not installed"
    return f"{type(error).__name__}: {lines[0] if lines else 'without a word'}"


def _encoded(value: Any, own: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _encoded(item, own) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(item, own) for item in value]
    if callable(value):
        return {_FUNCTION: _place_of(value, own)}
    if value is None or isinstance(value, str | int | float):
        return value
    raise ConfigError(f"a group changes it by {value!r}, which is no plain value")


def _place_of(function: Callable[..., Any], own: Path) -> list[str]:
    """Return folder, path and name of a function that a YAML file names."""
    file = Path(str(sys.modules[function.__module__].__file__)).resolve()
    for folder, root in (("lm_eval", TASKS_FOLDER), ("own", own.resolve())):
        if file.is_relative_to(root):
            return [folder, file.relative_to(root).as_posix(), function.__qualname__]
    raise ConfigError(f"a group changes it by {function!r}, which is in no task's folder")


def _decoded(value: Any, own: Path) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {_FUNCTION}:
            folder, path, name = value[_FUNCTION]
            root = TASKS_FOLDER if folder == "lm_eval" else own
            return getattr(_load_module_with_cache(root / path), name)
        return {key: _decoded(item, own) for key, item in value.items()}
    return [_decoded(item, own) for item in value] if isinstance(value, list) else value

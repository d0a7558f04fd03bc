"""The tasks of lm-eval and the local files behind them, as planning finds them: before any job.

A task's YAML file names others: files that it includes, modules with its functions, files of rows.
All of them are found here by reading, without running anything, so that their contents can be part
of what identifies the benchmark.
"""

import ast
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from scripts.lib.artifacts.graph import slugify
from scripts.lib.benchmarks.lm_eval.layout import DATA, LOCAL, OWN
from scripts.lib.benchmarks.lm_eval.options import LmEval
from scripts.lib.errors import ConfigError
from scripts.lib.files import walk_files
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.questions import Questions


def questions(benchmark: LmEval, sources: LocalSources) -> Questions:
    """Return what the tasks and their rows are made of.

    Raises:
        ConfigError: A file is missing or is not what it should be, or lm-eval has no such task.
    """
    own, places = task_files(sources, benchmark.path or (), benchmark.data)
    spec = {
        "source": "lm_eval",
        "kind": benchmark.kind,
        "tasks": benchmark.tasks or (),
        "own": own,
        "data": benchmark.data is not None,
        "revisions": dict(benchmark.revisions),
        "files": {name: sources.sha256(place) for name, place in places.items()},
    }
    words = slugify("-".join(benchmark.tasks or (Path(name).stem for name in own)))
    # What a user's own files lead to is known once they are read, which runs their code.
    tasks = () if own else _tasks(benchmark.tasks or (), sources)
    return Questions(slug=words, spec=spec, places=places, subjects=tasks)


def _tasks(names: Sequence[str], sources: LocalSources) -> tuple[str, ...]:
    """Return the tasks behind names of tasks and groups that lm-eval brings.

    Finding them takes lm-eval, which takes seconds to import; so they are remembered.

    Raises:
        ConfigError: It has none of a name; lists all such names.
    """

    def find() -> list[str]:
        from scripts.lib.benchmarks.lm_eval.resolve import find_leaves

        problems: list[str] = []
        leaves = find_leaves(names, [], Path("nothing of one's own"), problems)
        if problems:
            raise ConfigError("; ".join(problems))
        return [leaf.name for leaf in leaves]

    question = {"lm_eval": sources.package_version("lm-eval"), "tasks": list(names)}
    return tuple(sources.recall(question, find))


class _Function(str):
    """What follows `!function`."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """Reads `!function` as a word."""


def _function(loader: _Loader, node: Any) -> _Function:
    return _Function(loader.construct_scalar(node))


_Loader.add_constructor("!function", _function)


def task_files(
    sources: LocalSources, paths: Sequence[str], data: str | None
) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Return the local files that a benchmark is made of.

    Args:
        sources: Finds and hashes local files.
        paths: YAML files of a user's own tasks.
        data: A folder that stands in for the hub, or None.

    Returns:
        The names of the user's own task files below `own/`; and name -> place of every file, in
        the order of the names. Own files keep their places relative to each other; a file of rows
        goes by the path that the task's file writes, one of the `data` folder by its path there.

    Raises:
        ConfigError: A file is missing, or is not what it should be.
    """
    roots = [sources.locate(path).resolve() for path in paths]
    own: dict[Path, None] = {}
    local: dict[str, Path] = {}
    for root in roots:
        if not root.is_file():
            raise ConfigError(f"{root} is no file; name the YAML file of a task or a group")
        _add_yaml(root, own, local, sources)
    start = Path(os.path.commonpath([place.parent for place in own])) if own else Path()
    places = {f"{OWN}{place.relative_to(start).as_posix()}": place for place in own}
    places |= {f"{LOCAL}{written}": place for written, place in local.items()}
    if data:
        folder = sources.locate(data)
        if not folder.is_dir():
            raise ConfigError(f"data: {folder} is no folder")
        places |= {f"{DATA}{p.relative_to(folder).as_posix()}": p for p in walk_files(folder)}
    names = tuple(root.relative_to(start).as_posix() for root in roots)
    return names, dict(sorted(places.items()))


def _add_yaml(
    place: Path, own: dict[Path, None], local: dict[str, Path], sources: LocalSources
) -> None:
    """Add a YAML file, and all that it names."""
    if place in own:
        return
    own[place] = None
    try:
        document = yaml.load(place.read_bytes(), Loader=_Loader)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{place} cannot be read as a task of lm-eval: {error}") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{place} holds no task of lm-eval")
    included = document.get("include", ())
    for name in [included] if isinstance(included, str) else included:
        below = place.parent / name
        if Path(name).is_absolute() or not below.is_file():
            raise ConfigError(f"{place} includes {name!r}; write the path of a file relative to it")
        _add_yaml(below.resolve(), own, local, sources)
    for function in _words(document):
        module = place.parent / f"{function.rpartition('.')[0].replace('.', '/')}.py"
        if module.is_file():
            _add_module(module.resolve(), own)
    for written in _row_paths(document):
        _add_rows(written, place.parent, local, sources)
    # In a repository of the hub it names one of its folders.
    for written in _values(document, "data_dir"):
        with suppress(ConfigError):
            _add_rows(written, place.parent, local, sources)


def _words(value: Any) -> Iterator[_Function]:
    if isinstance(value, _Function):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _words(item)


def _add_module(place: Path, own: dict[Path, None]) -> None:
    """Add a module and those that it imports from its own folder."""
    if place in own:
        return
    own[place] = None
    try:
        tree = ast.parse(place.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{place} cannot be read as Python: {error}") from error
    for node in ast.walk(tree):
        names: Sequence[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            base = place.parent.joinpath(*name.split("."))
            for file in (base.with_suffix(".py"), base / "__init__.py"):
                if file.is_file():
                    _add_module(file.resolve(), own)


def _row_paths(document: Any) -> Iterator[str]:
    """Yield every path that stands in `data_files` or may stand in `dataset_path`."""
    yield from _values(document, "data_files")
    yield from filter(_is_place, _values(document, "dataset_path"))


def _values(value: Any, name: str) -> Iterator[str]:
    """Yield every text that stands anywhere under a key of this name."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item, name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item) if key == name else _values(item, name)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _is_place(path: str) -> bool:
    """Tell whether the path of a dataset is a folder, and no repository or kind of file."""
    return path.startswith((".", "/", "~"))


def _add_rows(written: str, folder: Path, local: dict[str, Path], sources: LocalSources) -> None:
    """Add a file of rows, or all files of a folder; what has an address in a network stays out."""
    if "://" in written:
        return
    beside = folder / Path(written).expanduser()
    place = beside if beside.exists() else sources.locate(written)
    if place.is_file():
        local[written] = place
    for file in walk_files(place) if place.is_dir() else ():
        local[f"{written}/{file.relative_to(place).as_posix()}"] = file

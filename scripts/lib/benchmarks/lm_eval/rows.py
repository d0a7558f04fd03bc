"""The rows that lm-eval's tasks read: loaded once, kept as Parquet, read again without a network.

A task names a dataset as `datasets.load_dataset` takes it. Its rows come from there (the hub at a
commit, or local files), or from a folder with files of the same rows.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.csv
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, load_dataset
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from datasets.table import InMemoryTable

from scripts.lib.canonical import digest
from scripts.lib.errors import ConfigError, ScoreError
from scripts.lib.fetch.access import reason_of
from scripts.lib.fetch.hub import Wanted, commit_fault, commits_of, load_fault
from scripts.lib.questions import rows as question_rows

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
_BY_DATA = "give its rows in a folder, by `data`"
DATA_SUFFIXES = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class RowSources:
    """Where rows come from.

    Attributes:
        data: File below the folder that stands in for the hub -> where it is; None without one.
        local: Path as a task's file writes it -> where that is.
        revisions: Repository -> commit.
    """

    data: Mapping[str, Path] | None = None
    local: Mapping[str, Path] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """The dataset of a task.

    Attributes:
        path: Repository, kind of file, or folder.
        name: Its configuration, or None.
        options: What else `load_dataset` is told.
        make: A task's own function that makes the rows, with what it is told; else None.
    """

    path: str | None
    name: str | None
    options: Mapping[str, Any]
    make: Callable[..., Any] | None = None

    @classmethod
    def of(cls, config: Any) -> "Source":
        """Return the dataset of a task's config."""
        options = dict(config.dataset_kwargs or {})
        options.pop("trust_remote_code", None)
        make = config.custom_dataset
        if make is not None:
            options = {**(config.metadata or {}), **options}
            options.pop("config_source", None)
        return cls(config.dataset_path, config.dataset_name, options, make)

    @property
    def key(self) -> str:
        """A name that tasks with the same dataset share, fit for a folder."""
        made = f"{self.make.__module__}.{self.make.__qualname__}" if self.make else None
        words = re.sub(r"\W+", "_", f"{self.path or 'made'}_{self.name or ''}").strip("_")[:60]
        told = json.loads(json.dumps(self.options, default=str))
        return f"{words}-{digest([self.path, self.name, told, made], digits=8)}"

    def words(self) -> str:
        """Return the words for people."""
        return f"{self.path} ({self.name})" if self.name else str(self.path)


def splits_of(config: Any) -> tuple[str, ...]:
    """Return the splits that lm-eval's task reads, as its class chooses them.

    Raises:
        ConfigError: The task has nothing to ask.
    """
    asked = config.test_split or config.validation_split
    if not asked:
        raise ConfigError("has neither a test nor a validation split")
    shown = config.fewshot_config
    if shown.split is None and shown.samples is not None:
        return (asked,)
    example = shown.split or config.training_split or config.validation_split or config.test_split
    return tuple(dict.fromkeys((asked, example)))


def load_rows(source: Source, splits: Sequence[str], places: RowSources) -> tuple[Any, str]:
    """Return the rows of a dataset, and where they really came from.

    Returns:
        Rows by split, and a commit of the hub, `data` or `local`.

    Raises:
        ConfigError: They cannot be had; with the reason.
    """
    try:
        if source.make:
            return source.make(**source.options), "made by the task"
        if places.data is not None and not _is_local(source, places.local):
            return _rows_of_folder(source, splits, places.data), "data"
        return _rows_of_library(source, splits, places)
    except ConfigError:
        raise
    # Whatever a library, a network or a file does, the other datasets are to be tried all the same.
    except Exception as error:
        raise ConfigError(f"cannot be loaded: {_why(error, source, places)}") from error


def _why(error: Exception, source: Source, places: RowSources) -> str:
    """Say why the rows of a task cannot be had; of the hub's, what the hub says."""
    path = str(source.path)
    of_a_kind = path in _PACKAGED_DATASETS_MODULES or not _REPOSITORY.fullmatch(path)
    if source.make or of_a_kind or _is_local(source, places.local):
        return reason_of(error)
    wanted = Wanted(
        path, source.name, None, places.revisions.get(path), chosen=False, instead=_BY_DATA
    )
    return load_fault(error, wanted)


def write_rows(rows: Mapping[str, Any], splits: Sequence[str], folder: Path) -> None:
    """Write splits as Parquet that keeps the features.

    Raises:
        ConfigError: There is no such split, or no row in it.
    """
    for split in splits:
        if split not in rows:
            raise ConfigError(f"has no split {split!r}; it has {', '.join(map(str, rows))}")
        if not len(rows[split]):
            raise ConfigError(f"has no row in its split {split!r}")
        folder.mkdir(parents=True, exist_ok=True)
        part = rows[split]
        part = part if isinstance(part, Dataset) else Dataset.from_list(list(part))
        table = part.with_format("arrow")[:]
        features = part.features.arrow_schema.metadata
        pq.write_table(table.replace_schema_metadata(features), folder / _file(split))


def read_rows(folder: Path, splits: Sequence[str]) -> DatasetDict:
    """Return what `write_rows` wrote, in memory."""
    tables = {split: pq.read_table(folder / _file(split)) for split in splits}
    return DatasetDict({split: Dataset(InMemoryTable(table)) for split, table in tables.items()})


def _file(split: str) -> str:
    return f"{quote(split, safe='')}.parquet"


def _rows_of_folder(source: Source, splits: Sequence[str], data: Mapping[str, Path]) -> DatasetDict:
    found, lacking = {}, []
    for split in splits:
        stem = f"{source.path}/{source.name or 'default'}/{split}"
        names = [f"{stem}{suffix}" for suffix in DATA_SUFFIXES if f"{stem}{suffix}" in data]
        if names:
            found[split] = _rows_of_file(data[names[0]])
        else:
            lacking.append(f"{stem}.{{jsonl,csv,parquet}}")
    if lacking:
        raise ConfigError(f"is not in the folder of `data`: {', '.join(lacking)} is not there")
    return DatasetDict(found)


def _rows_of_file(place: Path) -> Dataset:
    if place.suffix == ".parquet":
        return Dataset(InMemoryTable(pq.read_table(place)))
    if place.suffix == ".csv":
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        return Dataset(InMemoryTable(pyarrow.csv.read_csv(place, parse_options=options)))
    try:
        rows = question_rows.read_rows(place, lambda row: None)
    except ScoreError as error:
        raise ConfigError(f"cannot be read: {error}") from error
    # A Dataset has the columns of its first row.
    columns = dict.fromkeys(name for row in rows for name in row)
    return Dataset.from_list([{name: row.get(name) for name in columns} for row in rows])


def _rows_of_library(
    source: Source, splits: Sequence[str], places: RowSources
) -> tuple[DatasetDict, str]:
    options = dict(source.options)
    written = str(source.path)
    path = _folder(written, places.local)
    if files := options.get("data_files"):
        options["data_files"] = _located(files, places.local)
    if folder := _local_folder(source):
        options["data_dir"] = _folder(folder, places.local)
    if written in places.revisions:
        options["revision"] = places.revisions[written]
    rows = load_dataset(path, source.name, **options)
    if not isinstance(rows, DatasetDict):
        raise ConfigError("comes as a stream or without splits, which is not supported")
    commits = sorted({commit for split in rows.values() for commit in commits_of(split)})
    pin = places.revisions.get(written)
    if pin and (fault := commit_fault(commits, pin)):
        raise ConfigError(fault)
    return rows, ", ".join(commits) or "local"


def _is_local(source: Source, local: Mapping[str, Path]) -> bool:
    """Tell whether a task's file itself names the rows."""
    files = source.options.get("data_files")
    if _located(files, local) != files or _folder(str(source.path), local) != source.path:
        return True
    folder = _local_folder(source)
    return folder is not None and _folder(folder, local) != folder


def _local_folder(source: Source) -> str | None:
    """Return the `data_dir` of a kind of file; that of a repository is one of its own folders."""
    folder = source.options.get("data_dir")
    return folder if isinstance(folder, str) and source.path in _PACKAGED_DATASETS_MODULES else None


def _folder(written: str, local: Mapping[str, Path]) -> str:
    """Return where a local folder of rows is; what is none stays as it is."""
    for name, place in local.items():
        if name.startswith(f"{written}/"):
            return str(place).removesuffix(name.removeprefix(written))
    return written


def _located(files: Any, local: Mapping[str, Path]) -> Any:
    """Put real places for the paths that a task's file writes."""
    if isinstance(files, Mapping):
        return {key: _located(value, local) for key, value in files.items()}
    if isinstance(files, list | tuple):
        return [_located(value, local) for value in files]
    return str(local[files]) if files in local else files

"""Local files that a configuration names: where they are, what is in them, whether they will do.

Planning calls this in the main process only, before any job; it reads little and hashes with a
memory, so that a plan of unchanged files costs a few stats.
"""

import csv
import importlib.metadata
import importlib.util
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.data.packed_files import LINES_SUFFIXES, kind_of, suffix_of
from scripts.lib.data.records import (
    ROW_SUFFIXES,
    RawRow,
    RowFiles,
    UnusableRow,
    files_of,
    read_rows,
)
from scripts.lib.errors import ConfigError, RecordError
from scripts.lib.model_files import model_file_names
from scripts.lib.plan.local_faults import kind_fault, model_faults
from scripts.lib.plan.remembered import CheckMemory, HashMemory

QUESTION_SUFFIXES = (".jsonl", ".json")
"""What questions that are no table come as: one object a line, or an array."""


class LocalSources:
    """The local files behind a config, seen from the folders that relative paths may start at."""

    def __init__(
        self, roots: Sequence[Path], memory: HashMemory, checks: CheckMemory | None = None
    ) -> None:
        """Remember where to look.

        Args:
            roots: Folders that a relative path may start at, first match wins: the working
                directory, then the project's own folder.
            memory: Hashes of files seen before.
            checks: What was found in files seen before; None to remember nothing beyond this.
        """
        self._roots = tuple(roots)
        self._memory = memory
        self._checks = checks or CheckMemory()

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders that a relative path may start at; the first where something is wins."""
        return self._roots

    def locate(self, path: str) -> Path:
        """Return where *path* is.

        Raises:
            ConfigError: when there is nothing there.
        """
        places = dict.fromkeys(root / Path(path).expanduser() for root in self._roots)
        for place in places:
            if place.exists():
                return place
        tried = " or ".join(map(str, places))
        raise ConfigError(f"{path!r} does not exist (looked for {tried})")

    def package_file(self, package: str, inner: str) -> Path:
        """Return a file inside an installed package, found without importing the package.

        Raises:
            ConfigError: when the package or the file is not there.
        """
        found = importlib.util.find_spec(package.replace("-", "_"))
        if found is None or found.origin is None:
            raise ConfigError(
                f"the package {package!r} is not installed: run `make env` if requirements.lock"
                f" names it, else `.venv/bin/python -m pip install {package}`"
            )
        place = Path(found.origin).parent / inner
        if not place.is_file():
            ggufs = ", ".join(sorted(file.name for file in place.parent.glob("*.gguf"))) or "none"
            raise ConfigError(f"the package {package!r} has no file {inner!r}; its GGUFs: {ggufs}")
        return place

    def package_version(self, package: str) -> str:
        """Return the version of an installed package that no lock pins.

        Raises:
            ConfigError: when it is not there.
        """
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(
                f"the package {package!r} is not installed and not among the locked ones: run"
                f" `.venv/bin/python -m pip install {package}`, or choose another back end"
            ) from None

    def sha256(self, place: Path) -> str:
        """Return the hash of a file."""
        return self._memory.sha256(place)

    def model_files(self, path: str) -> dict[str, str]:
        """Return file -> sha256 of a local model folder.

        Raises:
            ConfigError: when the folder is not a complete safetensors model with a tokenizer.
        """
        folder = self.locate(path)
        if not folder.is_dir():
            raise ConfigError(
                f"{path!r} is no folder; for a GGUF file give its folder as `path` and its name as"
                " `gguf`"
            )
        names = model_file_names(folder)
        if faults := list(model_faults(folder, names)):
            raise ConfigError("; ".join(faults))
        return {name: self.sha256(folder / name) for name in names}

    def rows_file(self, path: str, suffixes: Collection[str] = ROW_SUFFIXES) -> Path:
        """Return a file of rows.

        Args:
            path: As the config names it.
            suffixes: What it may end with.

        Raises:
            ConfigError: when it is missing, empty, or of another kind than its name says.
        """
        place = self.locate(path)
        if place.suffix not in suffixes:
            raise ConfigError(f"{place}: rows come as {', '.join(suffixes)}")
        if not place.is_file():
            raise ConfigError(f"{place} is no file")
        self.check_rows(place, suffixes)
        return place

    def check_rows(self, place: Path, suffixes: Collection[str] = ROW_SUFFIXES) -> None:
        """Refuse a file of rows that is empty, or of another kind than its name says.

        Args:
            place: An existing file.
            suffixes: What such files may end with.

        Raises:
            ConfigError: when it is.
        """
        one_a_line = kind_of(place) in LINES_SUFFIXES or suffixes == QUESTION_SUFFIXES
        if fault := kind_fault(place, one_a_line=one_a_line):
            raise ConfigError(f"{place} {fault}")
        if not has_rows(place):
            raise ConfigError(f"{place} is empty: it holds no row")

    def check_usable_rows(
        self, spec: Mapping[str, Any], files: Mapping[str, RowFiles], wanted: Collection[str]
    ) -> None:
        """Refuse a dataset of which a split that something needs stays without a row.

        Args:
            spec: How its rows become conversations, as the stage's spec says it.
            files: Source (`train`, `valid`, `test`) -> its files.
            wanted: Splits that must have a row.

        Raises:
            ConfigError: with what is wrong with the rows, and what to do.
        """

        def check() -> bool:
            # A plan of files that were read before does without pyarrow.
            from scripts.lib.data.format_spec import FormatSpec
            from scripts.lib.data.formatting import check_usable_rows

            try:
                check_usable_rows(FormatSpec(**spec), files, wanted)
            except RecordError as error:
                raise ConfigError(str(error)) from error
            return True

        hashes = {
            name: [[self.sha256(place), suffix_of(place)] for place in files_of(rows)]
            for name, rows in files.items()
        }
        self._checks.recall({"rows": hashes, "spec": spec, "wanted": sorted(wanted)}, check)

    def recall(self, question: Any, find: Callable[[], Any]) -> Any:
        """Return what was found in contents that were read before, else what *find* finds.

        Args:
            question: All that the answer depends on, the hashes of files among it; as JSON.
            find: Finds the answer, which is JSON too; what it raises is not kept.
        """
        return self._checks.recall(question, find)


def column_names(place: Path) -> tuple[str, ...]:
    """Return the columns of a file of rows: its header, or the keys of its first row.

    Raises:
        ConfigError: when it cannot be read as what its suffix says.
    """
    if place.suffix == ".parquet":
        return tuple(_parquet(place).schema.names)
    if place.suffix == ".csv":
        with place.open(encoding="utf-8-sig", newline="") as file:
            return tuple(next(csv.reader(file), ()))
    row = next(_rows(place), None)
    if isinstance(row, UnusableRow):
        raise ConfigError(f"{place}: its first row cannot be read ({row.detail}); correct it")
    return tuple(row) if isinstance(row, dict) else ()


def all_columns(place: Path) -> tuple[str, ...]:
    """Return the columns of a file of rows, those of JSON taken from every row and not the first.

    Raises:
        ConfigError: when it cannot be read as what its suffix says.
    """
    if place.suffix in (".csv", ".parquet"):
        return column_names(place)
    rows = (row for row in _rows(place) if isinstance(row, Mapping))
    return tuple(dict.fromkeys(name for row in rows for name in row))


def has_rows(place: Path) -> bool:
    """Tell whether a file of rows holds one, reading as little as possible.

    Raises:
        ConfigError: when it cannot be read as what its suffix says.
    """
    if place.suffix == ".parquet":
        return bool(_parquet(place).num_rows)
    return any(True for _ in _rows(place))


def _parquet(place: Path) -> Any:
    """Return the footer of a Parquet file."""
    # It takes a while to import, which planning need not wait for other files.
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(place)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place} cannot be read as Parquet ({error}): repair it") from error


def _rows(place: Path) -> Iterator[RawRow]:
    try:
        yield from read_rows(place)
    except RecordError as error:
        raise ConfigError(str(error)) from error

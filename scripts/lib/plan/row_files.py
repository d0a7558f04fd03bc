"""The files of rows that a path in a configuration stands for: a file, a folder, a pattern, a list.

A folder's and a pattern's files are taken in the order of their paths, so that they give the same
rows on every disk; a list's entries in the order of the list.
"""

import glob
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from scripts.lib.data.packed_files import PACKINGS, TEXT_SUFFIXES, kind_of, suffix_of
from scripts.lib.data.records import ROW_SUFFIXES
from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_files import LocalSources

_HUB_FILES = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
"""What `datasets` writes beside rows."""
_DATA_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".7z", ".rar", ".xlsx", ".xls", ".ods", ".pkl"})
"""Data that is not read; in a folder nobody would expect it to be passed over."""
_SPLIT = re.compile(r"(?:^|[/_.-])(train|valid|validation|val|dev|eval|test)(?=[/_.-])", re.I)
_SPLITS = {"train": "train", "test": "test"}
SHOWN = 3


def row_files(sources: LocalSources, path: str | Sequence[str]) -> list[Path]:
    """Return the files behind one source of rows, each checked to hold what its name says.

    Args:
        sources: The local files.
        path: A file, a folder, a pattern such as `data/*.jsonl`, or a list of these.

    Raises:
        ConfigError: There is none, they are of several kinds or splits, or one will not do.
    """
    found: dict[Path, Path] = {}
    for entry in (path,) if isinstance(path, str) else path:
        for place in _behind(sources, entry):
            found.setdefault(place.resolve(), place)
    for place in found.values():
        if kind_of(place) not in ROW_SUFFIXES:
            raise ConfigError(
                f"{place}: rows come as {', '.join(ROW_SUFFIXES)}, text also compressed as"
                f" {', '.join(PACKINGS)}"
            )
        if not place.is_file():
            raise ConfigError(f"{place} is no file")
        _check(sources, place)
    return list(found.values())


def _check(sources: LocalSources, place: Path) -> None:
    """Refuse a file that is of another kind than its name says; whole contents are seen once."""

    def find() -> bool:
        sources.check_rows(place)
        return True

    if place.stat().st_size == 0:
        find()
    sources.recall({"holds rows": [sources.sha256(place), suffix_of(place)]}, find)


def check_apart(files: Mapping[str, Iterable[Path]]) -> None:
    """Refuse a file that stands for two splits.

    Raises:
        ConfigError: Names it and both.
    """
    splits: dict[Path, str] = {}
    for split, places in files.items():
        for place in places:
            if (other := splits.setdefault(place.resolve(), split)) != split:
                raise ConfigError(
                    f"{place} is in the {other} split and in {split}; no row may be in both"
                )


def _behind(sources: LocalSources, entry: str) -> list[Path]:
    """Return the files behind one entry."""
    if glob.has_magic(entry) and not any(
        (root / Path(entry).expanduser()).exists() for root in sources.roots
    ):
        return _matching(sources, entry)
    place = sources.locate(entry)
    return _in_folder(place) if place.is_dir() else [place]


def _matching(sources: LocalSources, pattern: str) -> list[Path]:
    """Return the files that a pattern matches, below the first root where one does."""
    tried = list(dict.fromkeys(root / Path(pattern).expanduser() for root in sources.roots))
    for full in tried:
        places = map(Path, glob.glob(str(full), recursive=True))
        if files := sorted(place for place in places if place.is_file()):
            plain = itertools.takewhile(lambda part: not glob.has_magic(part), full.parts[:-1])
            _check_alike(files, Path(*plain))
            return files
    raise ConfigError(f"{pattern!r} matches no file (looked for {' or '.join(map(str, tried))})")


def _in_folder(folder: Path) -> list[Path]:
    """Return the files of rows in a folder and below."""
    if (folder / "dataset_dict.json").is_file():
        inner = [place.name for place in sorted(folder.iterdir()) if place.is_dir()]
        if len(inner) == 1:
            return _in_folder(folder / inner[0])
        named = ", ".join(f"{_split_of(name + '/') or name}: {folder / name}" for name in inner)
        raise ConfigError(f"{folder} holds several splits: write `files: {{{named}}}`")
    if saved := _saved(folder):
        return saved
    files = [place for place in sorted(_below(folder)) if place.name not in _HUB_FILES]
    if other := [place for place in files if place.suffix.lower() in _DATA_SUFFIXES]:
        raise ConfigError(
            f"{folder} holds {_shown(other)}, which cannot be read: unpack or save as CSV, or name"
            f" the files to read by a pattern, such as `{folder / '*.jsonl'}`"
        )
    rows = [place for place in files if kind_of(place) in ROW_SUFFIXES]
    if not rows:
        ends = ", ".join((*ROW_SUFFIXES, *(f"{TEXT_SUFFIXES[0]}{end}" for end in PACKINGS)))
        raise ConfigError(f"{folder} holds no file of rows: none ends in {ends}")
    kinds = sorted({kind_of(place) for place in rows})
    if len(kinds) > 1:
        raise ConfigError(
            f"{folder} holds files of several kinds ({', '.join(kinds)}): name those to read by a"
            f" pattern, such as `{folder / f'*{kinds[0]}'}`"
        )
    _check_alike(rows, folder)
    return rows


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below but hidden ones."""
    for place in folder.rglob("*"):
        inner = place.relative_to(folder)
        if place.is_file() and not any(part.startswith(".") for part in inner.parts):
            yield place


def _saved(folder: Path) -> list[Path]:
    """Return the files of a dataset that `save_to_disk` wrote, in their order."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return [folder / file["filename"] for file in state["_data_files"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _check_alike(files: Sequence[Path], start: Path) -> None:
    """Refuse files whose names say that some are held out: these would be trained on.

    Args:
        files: The files.
        start: The folder below which names are looked at.
    """
    splits: dict[str, list[Path]] = {}
    for place in files:
        inner = place.relative_to(start).as_posix()
        splits.setdefault(_split_of(inner) or "train", []).append(place)
    if len(splits) > 1:
        told = "; ".join(f"{split}: {_shown(places)}" for split, places in splits.items())
        example = f"{{train: {start / 'train*'}, test: {start / 'test*'}}}"
        raise ConfigError(
            f"{start} holds files of several splits ({told}), which are never pooled: name each"
            f" under `files`, such as `files: {example}`"
        )


def _split_of(name: str) -> str | None:
    """Return the split that a path names, or None."""
    found = _SPLIT.findall(name)
    return _SPLITS.get(found[-1].lower(), "valid") if found else None


def _shown(places: Sequence[Path]) -> str:
    more = f" and {len(places) - SHOWN:,} more" if len(places) > SHOWN else ""
    return ", ".join(place.name for place in places[:SHOWN]) + more

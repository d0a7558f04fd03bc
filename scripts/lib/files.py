"""Files: hashes, stats, and writing by rename."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NamedTuple


class Stat(NamedTuple):
    """What tells a changed file: its change time cannot be set back, unlike the others."""

    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class FileEntry(NamedTuple):
    """One file of an artifact: path relative to its folder, size, sha256 in hex."""

    path: str
    bytes: int
    sha256: str


def stat_of(path: Path) -> Stat:
    """Return the stat of *path*, links followed."""
    found = path.stat()
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def sha256_of(path: Path) -> str:
    """Return the sha256 of the file *path* in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_hidden(path: str | PurePath) -> bool:
    """Tell whether a relative *path* is a hidden file, or one in a hidden folder.

    No program here writes such files. Those that lie in an artifact's folder are others':
    Snakemake's `.snakemake_timestamp` where a job of its made the folder (and none where it came
    from a cache), `.nfs*` of open files that were deleted, `.DS_Store`.
    """
    return any(part.startswith(".") for part in PurePath(path).parts)


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield every file below *folder* that is not hidden, sorted by path."""
    for path in sorted(folder.rglob("*")):
        if not is_hidden(path.relative_to(folder)) and path.is_file():
            yield path


def list_files(folder: Path) -> tuple[FileEntry, ...]:
    """Return every file below *folder* that is not hidden, with size and hash, sorted by path."""
    return tuple(
        FileEntry(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
        for path in walk_files(folder)
    )


def files_below(folder: Path) -> dict[str, Path]:
    """Return every file below *folder* that is not hidden, by its path from there."""
    return {path.relative_to(folder).as_posix(): path for path in walk_files(folder)}


def copy_files(named: Mapping[str, Path], target: Path) -> None:
    """Copy files to their places below the folder *target*."""
    for name, path in named.items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def content_of(files: tuple[FileEntry, ...]) -> str:
    """Return one hash over the paths and hashes of *files*."""
    lines = "".join(f"{file.path}\0{file.sha256}\n" for file in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Return the JSON value in *path*."""
    return json.loads(path.read_text())


def write_json(path: Path, value: Any) -> None:
    """Write *value* to *path* in one step: a reader sees the old file or the new one."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write *text* to *path* in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with sibling(path) as part:
        part.write_text(text)
        os.replace(part, path)


@contextmanager
def sibling(path: Path) -> Iterator[Path]:
    """Lend an unused name beside *path*, and remove what is left there afterwards."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)

"""Where artifacts lie, what their manifests say, and how they are shared.

    results/<stage>/<name>/        the files of one artifact
    results/<stage>/<name>.json    its manifest, written last
    results/<stage>/.index/<key or content key>    the name of the artifact that has it
    <cache>/<stage>/<name>/<name>{/,.json}    the same pair in a shared cache, by one rename
    <cache>/<stage>/.part-*, .trash-*         entries that are being written, or were given up

An artifact is *present* when its manifest and all its files are there, by name and size; *evicted*
when only the manifest is; else it is missing. A name is a slug for people and the key; the slug is
no identity, so an artifact is also found by its key alone, and by its content key (the same work
on inputs of equal bytes).
"""

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scripts.lib import files
from scripts.lib.artifacts import shared_folders
from scripts.lib.canonical import digest
from scripts.lib.errors import StoreError

Publishing = Literal["files", "manifest", "no"]
"""What of an artifact a shared cache gets: everything, only the manifest, or nothing."""


@dataclass(frozen=True)
class Found:
    """One artifact as it lies on disk; `folder` is None when it is evicted."""

    id: str
    folder: Path | None
    manifest_path: Path
    manifest: Mapping[str, Any]

    @property
    def content(self) -> str:
        """The hash over paths and hashes of its files."""
        return str(self.manifest["content"])


class Store:
    """The local results and the shared caches behind them, in the order they are asked."""

    def __init__(self, results: Path, caches: tuple[Path, ...] = ()) -> None:
        """Remember the folders; nothing is read or made."""
        self.results = results
        self.caches = caches

    def look(self, id: str, *hashes: str) -> Found | None:
        """Return the artifact *id*, or one of its stage that has one of *hashes*.

        Args:
            id: Stage and name.
            hashes: Its key and, where the inputs' bytes are known, its content key.

        Returns:
            The first that is present, else the first that is evicted, else None.
        """
        evicted = None
        for manifest_path, value in self._manifest_paths(id, hashes):
            found = _read(id, manifest_path)
            if found is None or (value and not _has_hash(found, value)):
                continue
            if found.folder:
                return found
            evicted = evicted or found
        return evicted

    def verify(self, found: Found) -> None:
        """Compare the bytes of *found* with its manifest; remembered by stat. It counts as used.

        Raises:
            StoreError: after putting a bad folder aside, so that the next plan makes it anew.
        """
        folder = found.folder
        if folder is None:
            raise StoreError(f"{found.id} has no files here: start the workflow again")
        whole = self.entry_of(found.manifest_path) or folder
        with contextlib.suppress(OSError):  # a cache that is only read
            if whole != folder:
                os.utime(whole)
        memory = self.results / ".verified" / f"{_path_digest(folder)}.json"
        seen = shared_folders.inode(whole)
        try:
            stats = {path: list(files.stat_of(folder / path)) for path, _, _ in _listed(found)}
            with contextlib.suppress(OSError, ValueError):
                if files.read_json(memory) == [found.content, stats]:
                    return
            bad = next(
                (f for f in _listed(found) if files.sha256_of(folder / f.path) != f.sha256), None
            )
        except PermissionError as error:
            raise StoreError(
                f"{error.filename} cannot be read by you: have its owner open it (docs/cache.md"
                " says how rights are meant), or take its cache out of TUNESMITH_CACHE; then run"
                " again"
            ) from error
        except OSError as error:
            raise StoreError(f"{found.id} has lost files ({error}): run again") from error
        if bad:
            raise StoreError(self._complaint(found, whole, seen, folder / bad[0]))
        with contextlib.suppress(OSError):  # a full disk: it is only remembered for speed
            files.write_json(memory, [found.content, stats])

    def take(self, found: Found, folder: Path) -> None:
        """Fill the new *folder* with the files of *found*, by hard link where possible.

        Raises:
            StoreError: when they are not there, or no longer.
        """
        if found.folder is None:
            raise StoreError(f"{found.id} has no files here: start the workflow again")
        try:
            for path, _, _ in _listed(found):
                shared_folders.link_or_copy(found.folder / path, folder / path)
        except FileNotFoundError as error:
            raise StoreError(f"{found.id} has lost files ({error}): run again") from error

    def entry_of(self, manifest_path: Path) -> Path | None:
        """Return the cache's folder that holds a manifest with its files; None for results/."""
        entry = manifest_path.parent
        return entry if f"{entry.name}.json" == manifest_path.name else None

    def manifests_of(self, stage: str, *, caches: bool = True) -> Iterator[Path]:
        """Yield where the manifests of a stage lie, here and in the caches.

        Args:
            stage: The stage.
            caches: Whether to look into the shared caches, too.
        """
        yield from (self.results / stage).glob("*.json")
        for root in self.caches if caches else ():
            entries = (root / stage).glob("[!.]*/*.json")
            yield from (path for path in entries if path.stem == path.parent.name)

    def index(self, manifest: Mapping[str, Any]) -> None:
        """Note locally which keys the artifact behind *manifest* has."""
        _index(self.results, manifest)

    def publish(
        self, folder: Path, manifest: Mapping[str, Any], *, what: Publishing, replace: bool = False
    ) -> Found | None:
        """Offer a finished artifact to the first cache.

        Args:
            folder: Its files.
            manifest: Its manifest.
            what: How much of it is offered.
            replace: Put it in the place of an entry that is there (for work done again on request).

        Returns:
            The entry of another writer who was first, whose bytes are the ones to use; else None.
            A cache that is full or cannot be written is said on stderr and otherwise lived with.
        """
        if what == "no" or not self.caches:
            return None
        id = str(manifest["id"])
        try:
            return self._publish(id, folder, manifest, what=what, replace=replace)
        except OSError as error:
            why = shared_folders.advice(error, self.caches[0])
            print(f"warning: {id} was not published: {why}", file=sys.stderr)
            return None

    def _publish(
        self, id: str, folder: Path, manifest: Mapping[str, Any], *, what: Publishing, replace: bool
    ) -> Found | None:
        """Do what `publish` says; any OSError is the caller's."""
        cache = self.caches[0]
        stage, name = id.split("/")
        entry = cache / stage / name
        shared_folders.make_folder(entry.parent, cache)
        part = entry.parent / f".part-{name}-{secrets.token_hex(4)}"
        try:
            part.mkdir()
            if what == "files":
                for path in files.walk_files(folder):
                    shared_folders.link_or_copy(path, part / name / path.relative_to(folder))
            files.write_json(part / f"{name}.json", manifest)
            shared_folders.open_tree(part, cache)
            # Before and after: whoever is killed in between leaves an entry that is found by its
            # keys all the same, and whoever loses the race leaves the winner's keys alone.
            _index(cache, manifest, shared=True, new_only=True)
            while not shared_folders.move_in(part, entry):
                seen = shared_folders.inode(entry)
                winner = _read(id, entry / f"{name}.json")
                if winner and (winner.folder or what == "manifest") and not replace:
                    return winner
                aside = shared_folders.put_aside(entry, seen, cache)
                if aside and not replace:
                    print(f"{id}: the cache's entry was damaged; moved to {aside}", file=sys.stderr)
            _index(cache, manifest, shared=True)
            return None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _manifest_paths(
        self, id: str, hashes: tuple[str, ...]
    ) -> Iterator[tuple[Path, str | None]]:
        """Yield where a manifest for *id* can lie: under its own name, then by one of its hashes.

        With each place comes the hash that led to it; None for its own name.
        """
        stage, name = id.split("/")
        roots = (self.results, *self.caches)
        for root in roots:
            yield self._manifest_path(root, stage, name), None
        for value in hashes:
            for root in roots:
                with contextlib.suppress(OSError):
                    other = (root / stage / ".index" / value).read_text().strip()
                    if other != name:
                        yield self._manifest_path(root, stage, other), value

    def _manifest_path(self, root: Path, stage: str, name: str) -> Path:
        """Return the manifest's place: in a cache, folder and manifest share one entry."""
        entry = root / stage if root == self.results else root / stage / name
        return entry / f"{name}.json"

    def _complaint(self, found: Found, whole: Path, seen: int | None, bad: Path) -> str:
        """Move a bad artifact away; return in words what is bad, where it went, what to do."""
        now = _read(found.id, found.manifest_path)
        if now is None or now.content != found.content:
            return f"{found.id} was made anew while it was read: run again"
        local = whole == found.folder
        text = f"{bad} is not what its manifest says; "
        try:
            aside = shared_folders.put_aside(whole, seen, None if local else whole.parents[1])
        except OSError as error:  # a colleague's cache that is only read
            return (
                f"{text}it could not be moved away ({error}): have {whole} removed, or take its"
                " cache out of TUNESMITH_CACHE, then run again"
            )
        where = f"the artifact was moved to {aside}" if aside else "another job moved it away"
        return f"{text}{where}. Run again: it is made anew"


def _listed(found: Found) -> Iterator[files.FileEntry]:
    """Yield the files that a manifest lists, but hidden ones, which no new manifest lists."""
    for entry in found.manifest["files"]:
        if not files.is_hidden(entry["path"]):
            yield files.FileEntry(entry["path"], entry["bytes"], entry["sha256"])


def _read(id: str, manifest_path: Path) -> Found | None:
    """Return the artifact behind *manifest_path*, or None when there is no readable manifest."""
    try:
        manifest = files.read_json(manifest_path)
        folder = manifest_path.with_name(manifest_path.name.removesuffix(".json"))
        found = Found(id, folder, manifest_path, manifest)
        present = all(_has_size(folder / path, size) for path, size, _ in _listed(found))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not present or not manifest["files"]:
        return Found(id, None, manifest_path, manifest)
    return found


def _has_hash(found: Found, value: str) -> bool:
    """Tell whether *value* is a key of *found* now: work done again of other bytes changes them."""
    return value in (found.manifest.get("key"), found.manifest.get("content_key"))


def _index(
    root: Path, manifest: Mapping[str, Any], *, shared: bool = False, new_only: bool = False
) -> None:
    """Write the index entries of an artifact below *root*."""
    stage, name = str(manifest["id"]).split("/")
    for value in dict.fromkeys((manifest["key"], manifest["content_key"])):
        path = root / stage / ".index" / str(value)
        if new_only and path.exists():
            continue
        if shared:
            shared_folders.write_text(path, name + "\n", root)
        else:
            files.write_text(path, name + "\n")


def _has_size(path: Path, size: int) -> bool:
    """Tell whether *path* is a file of *size* bytes."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _path_digest(path: Path) -> str:
    """Return a short name for an absolute path."""
    return digest(str(path.absolute()))

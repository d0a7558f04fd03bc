"""Whether artifacts are what their manifests say, byte by byte.

Jobs check what they read, and remember by time and size what they checked. This reads everything,
remembered or not: after a disk's fault, a copy between machines, or before results are relied on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import files
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Store


@dataclass(frozen=True)
class Checked:
    """One artifact.

    Attributes:
        manifest: Its manifest.
        bytes: How much was read.
        faults: What is wrong, each in words; empty where nothing is.
        evicted: Whether it has no files, only the manifest.
    """

    manifest: Path
    bytes: int
    faults: tuple[str, ...]
    evicted: bool = False


def checked(store: Store, *, caches: bool = False) -> Iterator[Checked]:
    """Yield every artifact, stage by stage, when it has been read.

    Args:
        store: Results and caches.
        caches: Whether to read the shared caches, too.
    """
    for stage in STAGES:
        yield from map(check, sorted(store.manifests_of(stage, caches=caches)))


def check(manifest: Path) -> Checked:
    """Read the files of one artifact and compare them with its manifest."""
    try:
        said = files.read_json(manifest)
        listed = tuple(
            files.FileEntry(one["path"], one["bytes"], one["sha256"]) for one in said["files"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Checked(manifest, 0, (f"{manifest.name} is no manifest ({error})",))
    folder = manifest.with_suffix("")
    if not folder.exists():
        return Checked(manifest, 0, (), evicted=True)
    faults = []
    if files.content_of(listed) != said.get("content"):
        faults.append(f"{manifest.name} contradicts itself: its files do not add up to its content")
    read = 0
    for one in listed:
        path = folder / one.path
        try:
            size = path.stat().st_size
            read += size
            if size != one.bytes:
                faults.append(f"{one.path} has {size:,} bytes, not {one.bytes:,}")
            elif files.sha256_of(path) != one.sha256:
                faults.append(f"{one.path} has other bytes")
        except OSError as error:
            faults.append(f"{one.path} cannot be read: {error.strerror}")
    known = {one.path for one in listed}
    more = (path.relative_to(folder).as_posix() for path in files.walk_files(folder))
    faults += [f"{name} is not in its manifest" for name in more if name not in known]
    return Checked(manifest, read, tuple(faults))

"""Who is using what, so that tidying up pulls nothing from under a running reader.

Whoever reads artifacts, a job or the workflow that waits for its jobs, shows it while it lives:

- An entry of a shared cache gets a new time (of its folder <cache>/<stage>/<name>, which every
  member of the group may set) when reading begins, and again every BEAT_SECONDS. That time is the
  entry's *last use*; cache_upkeep.py removes nothing that was used within its grace.
- For results/, where what a changed config left may go at once, a reader lists the paths it counts
  on in results/.readers/<host>-<process>-<random>.json, and touches that file at the same beat. It
  removes it at its end; one of a killed process stops counting LEASE_SECONDS after its last beat.

Nothing here is waited for and nothing is locked: on a network file system a lock can outlive its
owner, and a clock that is minutes off does no harm.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from scripts.lib import files
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.store import Found, Store

BEAT_SECONDS = 600.0
"""How often a reader shows that it lives; a small part of every time that someone waits for it."""

LEASE_SECONDS = 3600.0
"""How long a reader counts after it was last seen: six beats, for a machine that is overloaded."""

READERS = ".readers"
"""Folder below results/."""


class Use:
    """Something in use from `with` to its end, or to the death of the process."""

    def __init__(self, results: Path, paths: Iterable[str], entries: Iterable[Path]) -> None:
        """Remember what is used; nothing is written yet.

        Args:
            results: The results folder.
            paths: What is used in it, from there.
            entries: Folders of cache entries.
        """
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json"
        self._lease = results.absolute() / READERS / name
        self._paths = sorted(set(paths))
        self._entries = sorted({entry.absolute() for entry in entries})
        self._ended = threading.Event()

    def __enter__(self) -> "Use":
        """Show the use, and go on showing it."""
        with contextlib.suppress(OSError):  # a full disk: the work will say so itself
            files.write_json(self._lease, self._paths)
        self._touch()
        threading.Thread(target=self._beat, name="usage", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """End the use."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._lease.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self._touch()

    def _touch(self) -> None:
        for place in (self._lease, *self._entries):
            with contextlib.suppress(OSError):  # a cache that is only read
                os.utime(place)


def of_plan(
    graph: Graph,
    found: Mapping[str, Found],
    file: Path,
    store: Store,
    batches: Iterable[str] = (),
) -> Use:
    """Return the use of a workflow: all that its config reaches, and the plan that its jobs read.

    Args:
        graph: What it makes.
        found: What it found, by id.
        file: The frozen plan.
        store: Results and caches.
        batches: Jobs that make several artifacts; their tokens are waited for.
    """
    paths = {f"plans/{file.name}", *batches}
    for id, artifact in graph.artifacts.items():
        paths |= {id, f"scratch/{artifact.stage}-{artifact.key}"}
    paths |= {one.id for one in found.values()}
    paths |= {str(one.manifest["id"]) for one in found.values()}
    entries = (store.entry_of(one.manifest_path) for one in found.values())
    return Use(store.results, paths, [entry for entry in entries if entry])


def in_use(results: Path, now: float) -> set[str]:
    """Return the paths below *results* that readers count on at the time *now*."""
    used: set[str] = set()
    for lease in leases(results):
        with contextlib.suppress(OSError, ValueError):
            if lease.stat().st_mtime > now - LEASE_SECONDS:
                used |= set(json.loads(lease.read_text()))
    return used


def leases(results: Path) -> Collection[Path]:
    """Return the files in which readers say what they count on."""
    return sorted((results / READERS).glob("*.json"))

"""Keeping results tidy: what the config no longer reaches, and what may go.

`python -m scripts.tools.upkeep gc` is the command; the workflow itself evicts merged models that
were declared not worth keeping.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.lib.artifacts.batches import BATCHES
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.in_use import in_use, leases
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Found, Store

DAY_SECONDS = 24 * 60 * 60


def evict_merged(graph: Graph, store: Store) -> list[Path]:
    """Remove the merged models with `keep_merged: false` whose proof and scores are there.

    The manifests stay, so nothing is planned because of it. A model that another run keeps stays,
    and so does one that another workflow uses now.
    """
    used = in_use(store.results, time.time())
    kept = {c.artifacts.get("merged") for c in graph.candidates if c.keep_merged}
    removed = []
    for candidate in graph.candidates:
        id = candidate.artifacts.get("merged")
        if id is None or id in kept:
            continue
        scores = (score for ids in candidate.scores.values() for score in ids)
        needed = [candidate.artifacts["proofs"], *scores]
        found = _look(store, id)
        folder = found.folder if found else None
        if (
            folder
            and folder.is_relative_to(store.results)
            and not _names(store, folder) & used
            and all(_look(store, other) for other in needed)
        ):
            shutil.rmtree(folder)
            removed.append(folder)
    return removed


def _look(store: Store, id: str) -> Found | None:
    """Return an artifact by its key, under whatever words it lies."""
    return store.look(id, id.rpartition("-")[2])


def unreached(graph: Graph, store: Store) -> Iterator[tuple[Path, int]]:
    """Yield each path under results/ that the config no longer reaches, with its bytes.

    These are artifacts and manifests that no id, key or content key of the graph leads to, what was
    put aside, and scratch folders of such artifacts; and, older than a day, plans, batches and the
    temporary folders of killed jobs. What a job or a workflow uses now (in_use.py) is left out.
    """
    now = time.time()
    reached = in_use(store.results, now)
    for id, artifact in graph.artifacts.items():
        found = _resolve(graph, store, id)
        reached |= {id, *([found.manifest["id"]] if found else [])}
        reached.add(f"scratch/{artifact.stage}-{artifact.key}")
    for stage in (*STAGES, "scratch", "plans", BATCHES):
        folder = store.results / stage
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name == ".index" or _names(store, path) & reached:
                continue
            passing = stage in ("plans", BATCHES) or ".part-" in path.name
            if not passing or path.stat().st_mtime < now - DAY_SECONDS:
                yield path, _bytes(path)
    for lease in leases(store.results):
        if lease.stat().st_mtime < now - DAY_SECONDS:
            yield lease, _bytes(lease)


def discard(store: Store, path: Path) -> bool:
    """Delete what `unreached` listed, unless someone began to use it; tell whether it is gone."""
    if _names(store, path) & in_use(store.results, time.time()):
        return False
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return True


def _names(store: Store, path: Path) -> set[str]:
    """Return the names under which a path of results/ can be in use."""
    name = path.relative_to(store.results).as_posix()
    return {name, name.removesuffix(".json")}


def _resolve(graph: Graph, store: Store, id: str) -> Found | None:
    """Return where an artifact of the graph lies, by its key or by its inputs' bytes."""
    artifact = graph.artifacts[id]
    found = store.look(id, artifact.key)
    if found:
        return found
    inputs = {
        edge: [_resolve(graph, store, source) for source in ids]
        for edge, ids in artifact.data.items()
    }
    if any(item is None for items in inputs.values() for item in items):
        return None
    contents = {edge: [item.content for item in items if item] for edge, items in inputs.items()}
    return store.look(id, artifact.key_with(contents))


def _bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
    return path.lstat().st_size

"""Keeping results tidy: what the config no longer reaches, what may go, what stays valid.

`python -m scripts.tools.upkeep gc|adopt` are the commands; the workflow itself evicts merged models
that were declared not worth keeping.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.lib import files, usage
from scripts.lib.canonical import canonical_json
from scripts.lib.graph import Artifact, Graph
from scripts.lib.stages import STAGES
from scripts.lib.store import Found, Store

DAY_SECONDS = 24 * 60 * 60


def evict_merged(graph: Graph, store: Store) -> list[Path]:
    """Remove the merged models with `keep_merged: false` whose proof and scores are there.

    The manifests stay, so nothing is planned because of it. A model that another run keeps stays,
    and so does one that another workflow uses now.
    """
    used = usage.in_use(store.results, time.time())
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
    put aside, and scratch folders of such artifacts; and, older than a day, plans and the temporary
    folders of killed jobs. What a job or another workflow uses now (usage.py) is left out.
    """
    now = time.time()
    reached = usage.in_use(store.results, now)
    for id, artifact in graph.artifacts.items():
        found = _resolve(graph, store, id)
        reached |= {id, *([found.manifest["id"]] if found else [])}
        reached.add(f"scratch/{artifact.stage}-{artifact.key}")
    for stage in (*STAGES, "scratch", "plans"):
        folder = store.results / stage
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name == ".index" or _names(store, path) & reached:
                continue
            passing = stage == "plans" or ".part-" in path.name
            if not passing or path.stat().st_mtime < now - DAY_SECONDS:
                yield path, _bytes(path)
    for lease in usage.leases(store.results):
        if lease.stat().st_mtime < now - DAY_SECONDS:
            yield lease, _bytes(lease)


def discard(store: Store, path: Path) -> bool:
    """Delete what `unreached` listed, unless someone began to use it; tell whether it is gone."""
    if _names(store, path) & usage.in_use(store.results, time.time()):
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


def adopt(graph: Graph, store: Store, *, reason: str) -> list[tuple[str, str]]:
    """Declare existing artifacts valid under changed code, and record it.

    An artifact of the graph that is missing takes the files of a local one that differs from it in
    the code's digest only: the same stage, spec and pins, on inputs that are the same or were
    adopted themselves. The new manifest says from what it was adopted and why.

    Returns:
        Pairs of new id and old id.
    """
    done: list[tuple[str, str]] = []
    manifests = {stage: list(_local_manifests(store, stage)) for stage in STAGES}
    for id, artifact in graph.artifacts.items():
        if store.look(id, artifact.key):
            continue
        contents = _contents(graph, store, artifact)
        if contents is None:
            continue
        old = next(
            (m for m in manifests[artifact.stage] if _same_but_code(m, artifact, contents)), None
        )
        if old is None:
            continue
        _adopt_one(store, id, artifact, old, contents, reason)
        done.append((id, old["id"]))
    return done


def _contents(graph: Graph, store: Store, artifact: Artifact) -> dict[str, list[str]] | None:
    """Return edge -> content hashes of the inputs, or None when one is not there."""
    result: dict[str, list[str]] = {}
    for edge, ids in artifact.data.items():
        inputs = [store.look(id, graph.artifacts[id].key) for id in ids]
        if any(item is None for item in inputs):
            return None
        result[edge] = [item.content for item in inputs if item]
    return result


def _same_but_code(
    manifest: Mapping[str, Any], artifact: Artifact, contents: Mapping[str, list[str]]
) -> bool:
    """Tell whether *manifest* describes the same work on the same bytes, under other code."""
    made_of = {
        edge: [source["content"] for source in inputs]
        for edge, inputs in manifest["inputs"].items()
    }
    return (
        _specs_equal(manifest["spec"], artifact.spec)
        and manifest["pins"] == artifact.pins
        and made_of == contents
    )


def _specs_equal(one: Any, other: Any) -> bool:
    """Compare two specs as JSON sees them: tuples are lists."""
    return canonical_json(one) == canonical_json(other)


def _adopt_one(
    store: Store,
    id: str,
    artifact: Artifact,
    old: Mapping[str, Any],
    contents: Mapping[str, list[str]],
    reason: str,
) -> None:
    """Link the old files under the new name and write the manifest that says so."""
    old_folder = store.results / old["id"]
    if old_folder.is_dir():
        found = Found(old["id"], old_folder, store.results / f"{old['id']}.json", old)
        store.take(found, store.results / id)
    manifest = {
        **old,
        "id": id,
        "slug": artifact.slug,
        "key": artifact.key,
        "content_key": artifact.key_with(contents),
        "code": artifact.code,
        "adopted": {"from": old["id"], "code": old["code"], "reason": reason},
    }
    files.write_json(store.results / f"{id}.json", manifest)
    store.index(manifest)


def _local_manifests(store: Store, stage: str) -> Iterator[dict[str, Any]]:
    """Yield the manifests of a stage in results/, newest first."""
    paths = (store.results / stage).glob("*.json")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        yield files.read_json(path)


def _bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
    return path.lstat().st_size

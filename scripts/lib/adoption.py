"""Declaring existing artifacts valid under changed code, and recording it.

An artifact of the graph that is missing takes the files of one that differs from it in the code's
digest only: the same stage, spec and pins, on inputs that are the same or were adopted themselves.
The new manifest says from what it was adopted and why. `python -m scripts.tools.upkeep adopt` is
the command.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.canonical import digest
from scripts.lib.code import ProjectCode
from scripts.lib.earlier_scores import is_part, specs_by_subject, write_subject
from scripts.lib.graph import Artifact, Graph
from scripts.lib.stages import STAGES
from scripts.lib.store import Found, Store

Contents = dict[str, list[str]]
"""Edge -> content hashes of the inputs."""


@dataclass(frozen=True)
class Adopted:
    """One artifact that was adopted: its new id, and the place of the old one's manifest."""

    id: str
    old: Path


def adopt(
    graph: Graph, store: Store, code: ProjectCode, *, reason: str, cache: bool = False
) -> list[Adopted]:
    """Adopt what can be.

    Args:
        graph: The artifacts of the config, under the code as it is now.
        store: Results and caches.
        code: That code.
        reason: Goes into the manifests.
        cache: Whether entries of the shared caches are adopted, too, and all that is adopted is put
            into the first of them.
    """
    done: list[Adopted] = []
    known = _known(store, cache=cache)
    for id, artifact in graph.artifacts.items():
        if store.look(id, artifact.key):
            continue
        contents = _contents(graph, store, artifact)
        if contents is None:
            continue
        old = known.get(_likeness(artifact.stage, artifact.spec, artifact.pins, contents))
        if old is None:
            continue
        manifest = _manifest(id, artifact, old, contents, code, reason)
        _take(store, old, manifest, cache=cache)
        done.append(Adopted(id, old.manifest_path))
    return done


def _known(store: Store, *, cache: bool) -> dict[str, Found]:
    """Return what lies here by all that has to be equal but the code; the newest of equals."""
    known: dict[str, Found] = {}
    for found in _everything(store, cache=cache):
        manifest = found.manifest
        made_of = {
            edge: [source["content"] for source in inputs]
            for edge, inputs in manifest["inputs"].items()
        }
        for spec in (manifest["spec"], *_earlier_specs(found)):
            likeness = _likeness(manifest["stage"], spec, manifest["pins"], made_of)
            known.setdefault(likeness, found)
    return known


def _earlier_specs(found: Found) -> Iterator[dict[str, Any]]:
    """Yield what earlier scores are to be adopted as, of which a part needs the files."""
    for spec in specs_by_subject(found.manifest):
        if found.folder or not is_part(found.manifest, spec["subject"]):
            yield spec


def _likeness(stage: str, spec: Any, pins: Any, contents: Any) -> str:
    return digest([stage, spec, pins, contents])


def _everything(store: Store, *, cache: bool) -> Iterator[Found]:
    """Yield the artifacts that lie here, and in the caches if asked for, the newest first."""
    places: list[Path] = []
    for stage in STAGES:
        places += (store.results / stage).glob("*.json")
        for root in store.caches if cache else ():
            entries = (root / stage).glob("[!.]*/*.json")
            places += (path for path in entries if path.stem == path.parent.name)
    for path in sorted(places, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        manifest = files.read_json(path)
        folder = path.with_name(path.name.removesuffix(".json"))
        yield Found(manifest["id"], folder if folder.is_dir() else None, path, manifest)


def _contents(graph: Graph, store: Store, artifact: Artifact) -> Contents | None:
    """Return the hashes of an artifact's inputs, or None when one is not there."""
    result: Contents = {}
    for edge, ids in artifact.data.items():
        inputs = [store.look(id, graph.artifacts[id].key) for id in ids]
        if any(item is None for item in inputs):
            return None
        result[edge] = [item.content for item in inputs if item]
    return result


def _manifest(
    id: str, artifact: Artifact, old: Found, contents: Contents, code: ProjectCode, reason: str
) -> dict[str, Any]:
    """Return the manifest of what is adopted, which says so."""
    return {
        **old.manifest,
        "id": id,
        "slug": artifact.slug,
        "key": artifact.key,
        "content_key": artifact.key_with(contents),
        "spec": artifact.spec,
        "code": artifact.code,
        "modules": code.modules(STAGES[artifact.stage].rule, artifact.kinds),
        "adopted": {
            "from": old.id,
            "code": old.manifest["code"],
            "modules": old.manifest.get("modules", {}),
            "reason": reason,
        },
    }


def _take(store: Store, old: Found, manifest: dict[str, Any], *, cache: bool) -> None:
    """Put the files of *old* under their new name, into results/ or where they lie in a cache."""
    local = store.results / manifest["id"]
    publishing = STAGES[manifest["stage"]].publishing
    subject = manifest["spec"].get("subject")
    if old.folder and is_part(old.manifest, subject):
        manifest["facts"] = write_subject(old.folder, subject, local)
        listed = files.list_files(local)
        manifest["files"] = [entry._asdict() for entry in listed]
        manifest["content"] = files.content_of(listed)
    elif store.entry_of(old.manifest_path):
        store.publish(old.folder or local, manifest, what=publishing if old.folder else "manifest")
        return
    elif old.folder:
        store.take(old, local)
    files.write_json(store.results / f"{manifest['id']}.json", manifest)
    store.index(manifest)
    if cache:
        store.publish(local, manifest, what=publishing if local.is_dir() else "manifest")

"""Declaring existing artifacts valid under changed code, and recording it.

An artifact of the graph that is missing takes the files of one that differs from it in the code's
digest only: the same stage, spec and pins, on inputs that are the same or were adopted themselves.
The new manifest says from what it was adopted and why. `python -m scripts.tools.upkeep adopt` is
the command.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scripts.lib import files
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.graph import Artifact, Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.canonical import digest
from scripts.lib.errors import StoreError
from scripts.lib.score.files import (
    BAD_ROWS,
    FEWER_SHOTS,
    LEFT_OUT,
    PROTOCOL_FILE,
    PROVENANCE_FILE,
    QUESTIONS_TABLE,
    TASKS,
)

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
        try:
            _take(store, old, manifest, cache=cache)
        # Of one that is damaged nothing is adopted; the others are.
        except (StoreError, OSError, pa.ArrowException) as error:
            _say(f"{old.id} is not adopted: {error}")
            continue
        if store.look(id, artifact.key):
            done.append(Adopted(id, old.manifest_path))
        else:
            _say(f"{old.id} is not adopted: it could not be put into the cache")
    return done


def _known(store: Store, *, cache: bool) -> dict[str, Found]:
    """Return what lies here by all that has to be equal but the code; the newest of equals."""
    known: dict[str, Found] = {}
    for path in _manifests(store, cache=cache):
        try:
            found = _read(path)
            for likeness in _likenesses(found):
                known.setdefault(likeness, found)
        # Whatever a person or a crash has left among the manifests is no artifact.
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            _say(f"{path} is passed over, being no manifest ({type(error).__name__}: {error})")
    return known


def _likenesses(found: Found) -> list[str]:
    """Return what an artifact can be adopted as."""
    manifest = found.manifest
    made_of = {
        edge: [source["content"] for source in inputs]
        for edge, inputs in manifest["inputs"].items()
    }
    return [
        _likeness(manifest["stage"], spec, manifest["pins"], made_of)
        for spec in (manifest["spec"], *_earlier_specs(found))
    ]


def _earlier_specs(found: Found) -> Iterator[dict[str, Any]]:
    """Yield what earlier scores are to be adopted as, of which a part needs the files."""
    for spec in specs_by_subject(found.manifest):
        if found.folder or not is_part(found.manifest, spec["subject"]):
            yield spec


def _likeness(stage: str, spec: Any, pins: Any, contents: Any) -> str:
    return digest([stage, spec, pins, contents])


def _manifests(store: Store, *, cache: bool) -> list[Path]:
    """Return the manifests that lie here, and in the caches if asked for, the newest first."""
    places = [path for stage in STAGES for path in store.manifests_of(stage, caches=cache)]
    return sorted(places, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _read(path: Path) -> Found:
    manifest = files.read_json(path)
    folder = path.with_name(path.name.removesuffix(".json"))
    return Found(manifest["id"], folder if folder.is_dir() else None, path, manifest)


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
    """Put the files of *old* under their new name, into results/ or where they lie in a cache.

    Raises:
        StoreError: when they are not whole.
    """
    local = store.results / manifest["id"]
    publishing = STAGES[manifest["stage"]].publishing
    subject = manifest["spec"].get("subject")
    if old.folder and is_part(old.manifest, subject):
        # New files get new hashes: no reader would notice the damage any more.
        store.verify(old)
        _take_part(old, manifest, subject, local)
    elif store.entry_of(old.manifest_path):
        store.publish(old.folder or local, manifest, what=publishing if old.folder else "manifest")
        return
    elif old.folder:
        part = _new_folder(local)
        store.take(old, part)
        part.rename(local)
    files.write_json(store.results / f"{manifest['id']}.json", manifest)
    store.index(manifest)
    if cache:
        store.publish(local, manifest, what=publishing if local.is_dir() else "manifest")


def _take_part(old: Found, manifest: dict[str, Any], subject: str, local: Path) -> None:
    """Make *local* the scores of one of the subjects of *old*, and have the manifest say so."""
    assert old.folder is not None
    part = _new_folder(local)
    facts = write_subject(old.folder, subject, part)
    listed = files.list_files(part)
    share = facts["n"] / old.manifest["facts"]["n"]
    seconds = round(old.manifest["execution"]["seconds"] * share, 3)
    manifest |= {
        "facts": facts,
        "execution": {**old.manifest["execution"], "seconds": seconds},
        "files": [entry._asdict() for entry in listed],
        "content": files.content_of(listed),
    }
    part.rename(local)


def _new_folder(local: Path) -> Path:
    """Return the name of a folder to fill; what a killed adoption left, under any name, goes."""
    part = local.with_name(f".{local.name}.part-adopted")
    for left in (part, local):
        shutil.rmtree(left, ignore_errors=True)
    return part


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def specs_by_subject(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the specs that the scores behind an earlier manifest have by subject, if it is one."""
    spec = dict(manifest["spec"])
    if manifest["stage"] != "scores" or "subjects" not in spec:
        return
    named = spec.pop("subjects")
    protocol = manifest["facts"]["protocol"]
    subjects = named or [*protocol.get(TASKS, ()), None]
    if len(subjects) > 1 and protocol.keys() & {BAD_ROWS, LEFT_OUT}:
        return  # whose rows they are is not said
    yield from ({**spec, "subject": subject} for subject in subjects)


def is_part(manifest: Mapping[str, Any], subject: str | None) -> bool:
    """Tell whether a subject is not all that the scores of an earlier manifest hold."""
    if subject is None or "subjects" not in manifest["spec"]:
        return False
    held = manifest["spec"]["subjects"] or manifest["facts"]["protocol"].get(TASKS, ())
    return len(held) > 1


def write_subject(scores: Path, subject: str, out: Path) -> dict[str, Any]:
    """Write the scores of one subject to the new folder *out*, and return their facts.

    Args:
        scores: Folder of scores of several subjects.
        subject: One of them.
        out: Folder to make.
    """
    out.mkdir(parents=True)
    table = pq.read_table(scores / QUESTIONS_TABLE)
    part = table.filter(pc.equal(table["subject"], subject))
    pq.write_table(part, out / QUESTIONS_TABLE)
    rows = part.select(["shots", "correct"]).to_pylist()
    protocol = json.loads((scores / PROTOCOL_FILE).read_text(encoding="utf-8"))
    if protocol["shots"] is not None and protocol["on_long_prompt"] == "fewer_shots":
        protocol[FEWER_SHOTS] = sum(row["shots"] < protocol["shots"] for row in rows)
    if TASKS in protocol:
        protocol[TASKS] = {subject: protocol[TASKS][subject]}
    text = json.dumps(protocol, indent=2, sort_keys=True)
    (out / PROTOCOL_FILE).write_text(text + "\n", encoding="utf-8")
    (out / PROVENANCE_FILE).write_bytes((scores / PROVENANCE_FILE).read_bytes())
    return {"n": len(rows), "correct": sum(row["correct"] for row in rows), "protocol": protocol}

"""The end of a job: the manifest of what it made, the shared cache, the rename into place.

Plumbing, as job.py is: it decides no byte of an artifact.
"""

import os
import platform
import resource
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib import cuda_driver, files
from scripts.lib.artifacts.graph import Artifact
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.errors import StoreError

PUBLISHING_TRIES = 3
"""How often an artifact is offered to a cache whose entry of it turns out to be damaged."""


def manifest_of(
    id: str,
    artifact: Artifact,
    found: Mapping[str, Sequence[Found]],
    content_key: str,
    folder: Path,
    facts: Mapping[str, Any],
    execution: Mapping[str, Any],
    modules: Mapping[str, str],
) -> dict[str, Any]:
    """Return the manifest of the files in *folder*; *modules* is what the code's digest counts."""
    listed = files.list_files(folder)
    if not listed:
        raise StoreError(f"{id}: the job wrote no file; this is a defect of its program")
    return {
        "id": id,
        "stage": artifact.stage,
        "slug": artifact.slug,
        "key": artifact.key,
        "content_key": content_key,
        "spec": artifact.spec,
        "code": artifact.code,
        "modules": modules,
        "pins": artifact.pins,
        "inputs": {
            edge: [{"id": item.id, "content": item.content} for item in items]
            for edge, items in found.items()
        },
        "files": [entry._asdict() for entry in listed],
        "content": files.content_of(listed),
        "facts": facts,
        "execution": execution,
    }


def build_facts(pins: Mapping[str, str]) -> dict[str, str]:
    """Return the build of PyTorch, where it is among the *pins*; asked before the work."""
    return {"torch": cuda_driver.installed_build().version} if "torch" in pins else {}


def execution_facts(began: float, threads: int, build: Mapping[str, str]) -> dict[str, Any]:
    """Return how the work was done: time, memory, machine, build; no part of any identity."""
    peak_kib = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "seconds": round(time.monotonic() - began, 3),
        "peak_gib": round(peak_kib / 2**20, 3),
        "threads": threads,
        "machine": platform.machine(),
        "python": platform.python_version(),
        **build,
    }


def finish(
    store: Store,
    part: Path,
    place: Path,
    manifest: dict[str, Any],
    *,
    again: bool,
) -> None:
    """Publish, move the folder into place and write the manifest, in this order."""
    publishing = STAGES[manifest["stage"]].publishing
    for _ in range(PUBLISHING_TRIES):
        winner = store.publish(part, manifest, what=publishing, replace=again)
        if not winner or winner.folder is None or winner.content == manifest["content"]:
            break
        if _taken_over(winner, store, part):
            for name in ("files", "content", "facts", "execution", "inputs", "content_key"):
                manifest[name] = winner.manifest[name]
            break
    shutil.rmtree(place, ignore_errors=True)
    os.rename(part, place)
    files.write_json(place.with_name(f"{place.name}.json"), manifest)
    store.index(manifest)


def _taken_over(winner: Found, store: Store, part: Path) -> bool:
    """Replace the files in *part* with those of whoever published first, if they are whole.

    Else the job's own work, which may have taken days, stands.
    """
    other = part.with_name(f"{part.name}-winner")
    try:
        store.verify(winner)
        store.take(winner, other)
        if files.content_of(files.list_files(other)) != winner.content:
            raise StoreError(f"{winner.id} was made anew while it was read")
    except (StoreError, OSError) as error:
        print(f"{winner.id}: {error}; what was made here is kept", flush=True)
        return False
    else:
        print("another workflow published this artifact first; its bytes are taken", flush=True)
        shutil.rmtree(part)
        os.rename(other, part)
        return True
    finally:
        shutil.rmtree(other, ignore_errors=True)

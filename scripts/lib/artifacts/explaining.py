"""What one artifact is: its settings, what it was made of, by what, how long it took."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.lib import files
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.errors import StoreError


def manifest_of_place(place: Path) -> Path:
    """Return the manifest that a place means: itself, or that of a folder, a file in it, or a link.

    Raises:
        StoreError: It belongs to no artifact.
    """
    real = place.resolve()
    for one in (real, *real.parents[:-1]):
        manifest = one if one.name.endswith(".json") else one.with_name(f"{one.name}.json")
        if manifest.parent.name in STAGES and manifest.is_file():
            return manifest
        if manifest.parent.parent.name in STAGES and manifest.is_file():  # an entry of a cache
            return manifest
    raise StoreError(f"{place} is no artifact: name a folder below results/, or a link to one")


def explained(manifest: Mapping[str, Any], leads: Sequence[str] | None) -> Iterator[str]:
    """Yield what is to be known of an artifact, in lines.

    Args:
        manifest: Its manifest.
        leads: What of the config leads to it; None where no config was read.
    """
    execution = manifest["execution"]
    bytes_ = sum(one["bytes"] for one in manifest["files"])
    yield str(manifest["id"])
    took = f"{execution.get('seconds', 0):,.1f} s"
    where = execution.get("device") or execution.get("machine", "an unknown machine")
    peak = execution.get("peak_gib")
    yield (
        f"  made by {STAGES[manifest['stage']].rule} in {took} on {where}"
        + (f", {peak} GiB at most" if peak else "")
    )
    yield f"  {len(manifest['files'])} files, {bytes_ / 2**20:,.1f} MiB"
    if leads is not None:
        yield f"  for {', '.join(leads)}" if leads else "  for nothing that this config leads to"
    if manifest["inputs"]:
        yield "of"
    for edge, items in manifest["inputs"].items():
        for item in items:
            yield f"  {edge}: {item['id']}"
    if manifest["spec"]:
        yield "with"
    text = yaml.safe_dump(manifest["spec"], sort_keys=False, allow_unicode=True)
    yield from (f"  {line}" for line in text.splitlines() if manifest["spec"])
    yield "by"
    modules = manifest.get("modules") or {}
    yield f"  {len(modules)} modules of this project, together {manifest['code']}"
    for name, version in manifest["pins"].items():
        yield f"  {name} {version}"


def led_to_by(graph: Graph, hashes: Collection[str]) -> list[str]:
    """Return the models and runs of a config that an artifact is made for.

    Args:
        graph: Of the config.
        hashes: The key and the content key of the artifact.
    """
    consumers = graph.consumers()
    pending = [id for id, artifact in graph.artifacts.items() if artifact.key in hashes]
    reached = set[str]()
    while pending:
        if (id := pending.pop()) not in reached:
            reached.add(id)
            pending += consumers[id]
    return [
        candidate.name
        for candidate in graph.candidates
        if not reached.isdisjoint(
            {
                *candidate.artifacts.values(),
                *(id for ids in candidate.scores.values() for id in ids),
                *candidate.categories.values(),
            }
        )
    ]


def read_manifest(place: Path) -> dict[str, Any]:
    """Return the manifest that a place means.

    Raises:
        StoreError: It belongs to no artifact, or its manifest is damaged.
    """
    path = manifest_of_place(place)
    try:
        found = files.read_json(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is no manifest ({error}): run again") from error
    if not isinstance(found, dict) or "files" not in found:
        raise StoreError(f"{path} is no manifest")
    return found

"""Broken forms of the identity code, and a quick way to run rows against them.

A mutant computes keys wrongly. The world before a change counts as fully run under the mutant's
keys; then the change is planned. No job runs, so that hundreds of mutants take seconds.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.graph import Artifact, Graph
from scripts.lib.artifacts.store import Found
from scripts.lib.canonical import canonical_json, digest
from scripts.lib.plan.missing import make_plan
from tests.identity.table import Row, failure
from tests.identity.world import World, words

Part = tuple[str, str, str]
"""What of a stage's identity: `spec` and a field, `edge` and its name, `code` or `pins`."""


CHECKS = Path("results/.verified/checks.json")


class Done:
    """Everything of a graph, made: what planning asks of a store, without files."""

    def __init__(self, graph: Graph) -> None:
        """Take note of every artifact of *graph*, with the bytes that pretended work gives."""
        self._found: dict[tuple[str, str], Found] = {}
        contents: dict[str, str] = {}
        for id, artifact in graph.artifacts.items():
            inputs = {e: [contents[source] for source in ids] for e, ids in artifact.data.items()}
            contents[id] = digest([artifact.stage, artifact.spec, inputs], digits=64)
            place = Path(id)
            found = Found(id, place, place.with_name("x.json"), {"content": contents[id]})
            self._found[artifact.stage, artifact.key] = found
            self._found[artifact.stage, artifact.key_with(inputs)] = found

    def look(self, id: str, *hashes: str) -> Found | None:
        """Return what has one of *hashes*."""
        stage = id.partition("/")[0]
        return next((f for h in hashes if (f := self._found.get((stage, h)))), None)


def planned(row: Row, before: World, done: Done, folder: Path) -> tuple[str, Graph]:
    """Return what is wrong with the plan after *row*, when all was made before it; and its graph.

    Args:
        row: The change.
        before: A world, run or not.
        done: All that it is made of.
        folder: A new folder.
    """
    world = before.copy(folder, results=False)
    # Whoever made all of it remembers what the checks of its files found.
    if (before.home / CHECKS).exists():
        (world.home / CHECKS).parent.mkdir(parents=True)
        os.link(before.home / CHECKS, world.home / CHECKS)
    row.change(world)
    redo = world.config.get("redo", ())
    redo = [redo] if isinstance(redo, str) else redo
    after = world.graph()
    shutil.rmtree(folder)
    return failure(row, words(make_plan(after, done, redo=redo))), after


@dataclass(frozen=True)
class Mutant:
    """One broken form of `Artifact.key_with`.

    Attributes:
        name: What it does wrong.
        parts: What it leaves out of the key.
        needless: What it puts into the key besides: artifact -> anything.
    """

    name: str
    parts: tuple[Part, ...] = ()
    needless: Callable[[Artifact], Any] = lambda artifact: None

    def key_with(self, artifact: Artifact, inputs: Mapping[str, Iterable[str]]) -> str:
        """Return the key, computed wrongly."""
        gone = {(kind, name) for stage, kind, name in self.parts if stage == artifact.stage}
        spec = dict(leaves(artifact.spec))
        return digest(
            {
                "stage": artifact.stage,
                "spec": {path: spec[path] for path in spec if ("spec", path) not in gone},
                "code": "" if ("code", "") in gone else artifact.code,
                "pins": {} if ("pins", "") in gone else artifact.pins,
                "inputs": {
                    edge: list(values)
                    for edge, values in inputs.items()
                    if ("edge", edge) not in gone
                },
                "needless": self.needless(artifact),
            }
        )


WHOLE = (
    *("files", "splits", "card", "columns", "tags", "placeholders"),
    *("rank_pattern", "alpha_pattern"),
)
"""Mappings of a spec that count as one value."""


def leaves(spec: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted fields of a spec with their values as JSON sees them."""
    for name, value in spec.items():
        if isinstance(value, Mapping) and name not in WHOLE and name != "template":
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.loads(canonical_json(value))


def parts_of(graph: Graph) -> set[Part]:
    """Return all that the keys of *graph* are made of."""
    found: set[Part] = set()
    for artifact in graph.artifacts.values():
        stage = artifact.stage
        found |= {(stage, "spec", path) for path, _ in leaves(artifact.spec)}
        found |= {(stage, "edge", edge) for edge in artifact.data}
        found.add((stage, "code", ""))
        if artifact.pins:
            found.add((stage, "pins", ""))
    return found


def changed_parts(before: Graph, after: Graph) -> set[Part]:
    """Return the parts of identity whose values are not the same in two graphs."""
    one, other = _values(before), _values(after)
    return {part for part in {*one, *other} if one.get(part) != other.get(part)}


def _values(graph: Graph) -> dict[Part, set[str]]:
    """Return part -> its values in all artifacts."""
    found: dict[Part, set[str]] = {}

    def note(part: Part, value: Any) -> None:
        found.setdefault(part, set()).add(canonical_json(value))

    for artifact in graph.artifacts.values():
        stage = artifact.stage
        for path, value in leaves(artifact.spec):
            note((stage, "spec", path), value)
        for edge in artifact.data:
            note((stage, "edge", edge), artifact.keys[edge])
        note((stage, "code", ""), artifact.code)
        note((stage, "pins", ""), artifact.pins)
    return found

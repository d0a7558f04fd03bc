"""What must be made: the states of a graph's artifacts, and the frozen plan that jobs read.

The walk starts at the targets and stops at whatever is there. An artifact whose manifest is there
but not its files is good enough for everyone who does not read the files.
"""

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from scripts.lib.artifacts.batches import DEFAULT, Batching, batches_of
from scripts.lib.artifacts.graph import Artifact, Candidate, Graph
from scripts.lib.artifacts.stages import FETCHED, STAGES
from scripts.lib.artifacts.store import Found
from scripts.lib.canonical import digest_of_text
from scripts.lib.errors import ConfigError
from scripts.lib.files import read_json, stat_of, write_text


class Inventory(Protocol):
    """What planning asks of a store."""

    def look(self, id: str, *hashes: str) -> Found | None:
        """Return the artifact with this id or one of these hashes, if there is one."""
        ...


@dataclass(frozen=True)
class Plan:
    """Which artifacts are to be made, and where the others lie.

    Attributes:
        graph: The graph that was planned.
        missing: Ids of the artifacts to make, inputs first.
        found: Artifacts that the walk met and that need no job.
        again: Those of `missing` that are made although they are there, because it was asked for.
    """

    graph: Graph
    missing: tuple[str, ...]
    found: Mapping[str, Found] = field(default_factory=dict)
    again: frozenset[str] = frozenset()


def make_plan(
    graph: Graph,
    inventory: Inventory,
    *,
    targets: Iterable[str] | None = None,
    redo: Iterable[str] = (),
) -> Plan:
    """Walk from the targets and return what must be made.

    Args:
        graph: All artifacts of the config.
        inventory: What has been made.
        targets: Ids; those of the graph when None.
        redo: Names of runs, base models or stages whose artifacts are made again, with all that
            follows from them; the name of a run with seeds is that of all its runs.

    Raises:
        ConfigError: when *redo* names nothing.
    """
    walk = _Walk(graph, inventory, again=_redo(graph, redo))
    for target in targets if targets is not None else graph.targets:
        walk.visit(target, files=True)
    missing = tuple(id for id in graph.artifacts if id in walk.missing)
    return Plan(graph, missing, walk.found, walk.again & walk.missing)


class _Walk:
    """One walk over a graph; remembers what it met."""

    def __init__(self, graph: Graph, inventory: Inventory, again: frozenset[str]) -> None:
        self._graph = graph
        self._inventory = inventory
        self._looked: dict[str, Found | None] = {}
        self._visited: dict[str, bool] = {}
        self.again = again
        self.found: dict[str, Found] = {}
        self.missing: set[str] = set()

    def visit(self, id: str, *, files: bool) -> None:
        """Settle whether *id* must be made for someone who reads its files, or its manifest."""
        if self._visited.get(id, False) >= files and id in self._visited:
            return
        self._visited[id] = files
        found = self.look(id)
        if found and (found.folder or not files):
            self.found[id] = found
            return
        self.found.pop(id, None)
        self.missing.add(id)
        artifact = self._graph.artifacts[id]
        for ids in artifact.reads.values():
            for source in ids:
                self.visit(source, files=True)
        for ids in artifact.knows.values():
            for source in ids:
                self.visit(source, files=False)
        for gate in artifact.gates:
            self.visit(gate.artifact, files=False)

    def look(self, id: str) -> Found | None:
        """Return where *id* lies: under its key, else as the same work on inputs of equal bytes."""
        if id not in self._looked:
            self._looked[id] = None if id in self.again else self._look(self._graph.artifacts[id])
        return self._looked[id]

    def _look(self, artifact: Artifact) -> Found | None:
        found = self._inventory.look(artifact.id, artifact.key)
        if found and found.folder:
            return found
        contents: dict[str, list[str]] = {}
        for edge, ids in artifact.data.items():
            inputs = [self.look(source) for source in ids]
            if any(source is None for source in inputs):
                return found
            contents[edge] = [source.content for source in inputs if source]
        twin = self._inventory.look(artifact.id, artifact.key_with(contents))
        return twin if twin and (twin.folder or not found) else found


def _redo(graph: Graph, names: Iterable[str]) -> frozenset[str]:
    """Return the artifacts that *names* mean, and all that follows from them."""
    candidates = [candidate.name for candidate in graph.candidates]
    pending: list[str] = []
    for name in names:
        if name in STAGES:
            pending += [id for id, artifact in graph.artifacts.items() if artifact.stage == name]
        elif found := [c for c in graph.candidates if name in (c.name, c.group)]:
            for candidate in found:
                trained = ("adapters", "combined", "trained", "given_adapters")
                own = [candidate.artifacts[s] for s in trained if s in candidate.artifacts]
                pending += own or [id for ids in candidate.scores.values() for id in ids]
        else:
            raise ConfigError(
                f"redo: {name!r} is no run, model or stage; runs and models:"
                f" {', '.join(candidates)}; stages: {', '.join(STAGES)}"
            )
    consumers = graph.consumers()
    again: set[str] = set()
    while pending:
        id = pending.pop()
        if id not in again:
            again.add(id)
            pending += consumers[id]
    return frozenset(again)


def freeze(
    plan: Plan,
    *,
    results: Path,
    caches: Iterable[Path],
    root: Path,
    full: bool = False,
    publish: bool = False,
    prefetch: bool = False,
    batching: Batching = DEFAULT,
) -> Path:
    """Write *plan* to a file named after its content and return the file's path.

    Args:
        plan: The plan of this invocation.
        results: The results folder.
        caches: Shared caches, the first is written.
        root: The project's folder, where the programs are.
        full: List every artifact of the graph, made or not (for pictures of the graph).
        publish: List what is to be pushed to the hub.
        prefetch: List what comes from outside, there or not.
        batching: How many artifacts one job makes, where it makes several.
    """
    ids = tuple(plan.graph.artifacts) if full else plan.missing
    made = frozenset(ids)
    batches = batches_of(plan.graph, ids, batching)
    maker = {id: batch for batch, members in batches.items() for id in members}
    listed = {id: _entry(plan, id, made, maker, str(results), full=full) for id in ids}
    grouped = {
        batch: _batch(batch, [listed[id] for id in members], members, str(results))
        for batch, members in batches.items()
    }
    anew = any(entry["anew"] for entry in (*listed.values(), *grouped.values()))
    content = {
        "artifacts": listed,
        "batches": grouped,
        "caches": [str(cache.absolute()) for cache in caches],
        "full": full,
        "prefetch": [
            [id, _place(plan, id, made, str(results))]
            for id in (fetch_targets(plan.graph) if prefetch else ())
        ],
        "publish": _publications(plan, made, str(results)) if publish else [],
        "results": str(results),
        "root": str(root),
        "targets": [[id, _place(plan, id, made, str(results))] for id in plan.graph.targets],
        # A plan that makes anew what is there must be newer than it, and like no plan before.
        "stamp": time.time_ns() if anew else 0,
    }
    # Every spec was checked when its key was made: what is left to do is quick.
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain
    )
    path = results / "plans" / f"{digest_of_text(text)}.json"
    if not path.exists():
        write_text(path, text + "\n")
    return path


def fetch_targets(graph: Graph) -> list[str]:
    """Return all that a config brings in from outside."""
    return [id for id, artifact in graph.artifacts.items() if artifact.stage in FETCHED]


def publish_targets(graph: Graph) -> list[str]:
    """Return what publishing needs beside the report: models, their proofs, the comparison."""
    needed = [
        id
        for candidate in graph.candidates
        if candidate.publish
        for id in _published(candidate).values()
    ]
    return [*needed, *graph.artifacts[graph.report].reads["comparison"]] if needed else []


def _published(candidate: Candidate) -> dict[str, str]:
    """Return what of a candidate is published, and what that rests on: role -> id."""
    made = candidate.artifacts
    if "merged" in made:
        return {"model": made["merged"], "proof": made["proofs"]}
    # Its base tells the licence.
    return {"model": made["trained"], "base": made["models"]}


def _publications(plan: Plan, made: frozenset[str], results: str) -> list[dict[str, Any]]:
    """Return for each model to publish where it goes and what its card is made of."""
    (comparison,) = plan.graph.artifacts[plan.graph.report].reads["comparison"]

    def place(id: str) -> list[str]:
        return [id, _place(plan, id, made, results)]

    found = []
    for candidate in plan.graph.candidates:
        if not candidate.publish:
            continue
        parts = _published(candidate)
        card = candidate.card or plan.graph.artifacts[parts["model"]].spec["card"]
        found.append(
            {
                "name": candidate.name,
                **candidate.publish,
                "card": card,
                "places": {role: place(id) for role, id in parts.items()}
                | {"comparison": place(comparison)},
            }
        )
    return found


def _plain(value: Any) -> Any:
    """Return a mapping or a sequence as JSON knows it."""
    return dict(value) if isinstance(value, Mapping) else list(value)


def read_frozen(path: Path) -> dict[str, Any]:
    """Return the content of a frozen plan."""
    content: dict[str, Any] = read_json(path)
    return content


def _batch(
    batch: str, entries: Sequence[Mapping[str, Any]], members: Sequence[str], results: str
) -> dict[str, Any]:
    """Return what is to be known of a job that makes several artifacts, of which all read alike.

    Args:
        batch: Its name.
        entries: What the plan says of the artifacts.
        members: Their ids.
        results: The results folder.
    """
    return {
        "artifacts": list(members),
        "reads": entries[0]["reads"],
        "awaits": list(dict.fromkeys(id for entry in entries for id in entry["awaits"])),
        "anew": os.path.exists(f"{results}/{batch}.json"),
    }


def _entry(
    plan: Plan,
    id: str,
    made: Collection[str],
    maker: Mapping[str, str],
    results: str,
    *,
    full: bool,
) -> dict[str, Any]:
    """Return what a job, and the Snakefile in it, need to know of the artifact *id*.

    Args:
        plan: The plan.
        id: The artifact.
        made: Ids of everything that the frozen plan lists.
        maker: Id -> the batch that it is made in, if it is.
        results: The results folder.
        full: Whether that is everything.
    """
    artifact = plan.graph.artifacts[id]

    def places(edges: Mapping[str, tuple[str, ...]]) -> dict[str, list[list[str]]]:
        return {
            edge: [[source, _place(plan, source, made, results)] for source in ids]
            for edge, ids in edges.items()
        }

    return {
        "stage": artifact.stage,
        "slug": artifact.slug,
        "key": artifact.key,
        "spec": artifact.spec,
        "code": artifact.code,
        "kinds": artifact.kinds,
        "pins": artifact.pins,
        "reads": places(artifact.reads),
        "knows": places(artifact.knows),
        "gates": [
            [gate.kind, gate.artifact, _place(plan, gate.artifact, made, results), gate.limit]
            for gate in artifact.gates
        ],
        "awaits": list(
            dict.fromkeys(
                maker.get(other, other) for other in _awaits(plan.graph, artifact, made, full=full)
            )
        ),
        "sources": [[path, list(stat_of(Path(path)))] for path in artifact.sources],
        "execution": artifact.execution,
        "again": id in plan.again,
        "anew": os.path.exists(f"{results}/{id}") or os.path.exists(f"{results}/{id}.json"),
    }


def _awaits(graph: Graph, artifact: Artifact, made: Collection[str], *, full: bool) -> list[str]:
    """Return the artifacts of the plan that must be there before *artifact* can be made.

    What another of them waits for anyway is left out: a comparison of a thousand runs waits for
    their categories, and through them for all that came before. A full plan, made for pictures,
    shows every edge.
    """
    inputs = [id for id in _inputs(artifact) if id in made]
    implied = set() if full else {id for other in inputs for id in _inputs(graph.artifacts[other])}
    return [id for id in dict.fromkeys(inputs) if id not in implied]


def _inputs(artifact: Artifact) -> list[str]:
    """Return the ids behind every edge and gate of *artifact*."""
    edges = (*artifact.reads.values(), *artifact.knows.values())
    return [id for ids in edges for id in ids] + [gate.artifact for gate in artifact.gates]


def _place(plan: Plan, id: str, made: Collection[str], results: str) -> str:
    """Return the folder of an artifact (its manifest has the same name and `.json`)."""
    found = plan.found.get(id)
    if found is None or id in made:
        return f"{results}/{id}"
    return str(found.manifest_path).removesuffix(".json")

"""From the configuration to the graph of artifacts: specs, edges, gates and keys.

Pure: the same config, code digests, pins and local files give the same graph. Nothing here looks
at what has been made already (that is plan/missing.py's part).
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scripts.lib.artifacts.pins import select
from scripts.lib.artifacts.stages import STAGES, libraries_of
from scripts.lib.canonical import digest

CodeOf = Callable[[str, tuple[str, ...]], str]
"""Rule and benchmark kinds -> digest of the program."""

CandidateKind = Literal["base", "run", "combination", "checkpoint", "adapter"]
GateKind = Literal[
    "ledger",
    "rendering",
    "growth",
    "contract",
    "verdict",
    "proof",
    "unsafe_code",
    "metric",
    "chat_template",
    "quantised",
]


@dataclass(frozen=True)
class Gate:
    """A finding of an earlier artifact that may forbid this one; never part of a key.

    Attributes:
        kind: Which finding.
        artifact: Id of the artifact whose manifest holds it.
        limit: What the finding is held against: a number, or the name of a metric.
    """

    kind: GateKind
    artifact: str
    limit: float | str | None = None


@dataclass(frozen=True)
class Artifact:
    """One folder that a job makes.

    Attributes:
        stage: Its stage.
        slug: Words for people; not identity.
        spec: What changes its bytes and nothing else.
        code: Digest of the program and the project modules it imports.
        pins: Versions of the libraries that decide its bytes.
        reads: Data edges whose files the job reads: edge -> ids.
        knows: Data edges of which the job needs the manifest only: edge -> ids.
        gates: Findings that may forbid the job.
        sources: Local files and folders outside results/ that the job reads.
        keys: Keys of the data inputs by edge.
        execution: How the job is to do its work, where the config says so; never part of a key.
        kinds: The benchmark kinds whose own modules count in `code`, too.
    """

    stage: str
    slug: str
    spec: Mapping[str, Any]
    code: str
    pins: Mapping[str, str]
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    knows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    sources: tuple[str, ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()

    @functools.cached_property
    def key(self) -> str:
        """The identity: everything that decides the bytes, and the keys of what is read."""
        return self.key_with(self.keys)

    @functools.cached_property
    def id(self) -> str:
        """Stage, slug and key; also the folder's path under results/."""
        return f"{self.stage}/{self.slug}-{self.key}"

    @property
    def data(self) -> dict[str, tuple[str, ...]]:
        """All data edges."""
        return {**self.reads, **self.knows}

    def key_with(self, inputs: Mapping[str, Iterable[str]]) -> str:
        """Return the key that this work has with *inputs* (edge -> keys, or content hashes)."""
        return digest(
            {
                "stage": self.stage,
                "spec": self.spec,
                "code": self.code,
                "pins": self.pins,
                "inputs": {edge: list(values) for edge, values in inputs.items()},
            }
        )


@dataclass(frozen=True)
class Candidate:
    """A base model or what is compared with one, and the artifacts that belong to it.

    Attributes:
        name: The config's name.
        kind: A base, a run, a combination of adapters, or a checkpoint or an adapter that was there
            already.
        base: Name of the base model that it is compared with, if it is none itself.
        artifacts: Stage -> id, for the stages that have one artifact for each candidate.
        datasets: Of a run on several datasets what is made of each, in the order of the shards that
            training reads: its `name`, and stage -> id, which `artifacts` then lacks.
        scores: Benchmark -> ids of its scoring jobs.
        categories: Benchmark -> id of its categories.
        judgements: Benchmark -> id of the judgements on its answers beside its base's.
        keep_merged: Whether the merged model stays when nothing needs it any more.
        publish: Repository, privacy and branch of the hub for its model, or nothing.
        card: What its model card says, where the model's own spec does not.
        group: Name for the runs that differ from it in their seed alone, or None.
        trained_on: Ids of the conversations that it was trained on.
        data_known: Whether that is all that was trained on since its base.
    """

    name: str
    kind: CandidateKind
    base: str | None
    artifacts: Mapping[str, str]
    scores: Mapping[str, tuple[str, ...]]
    categories: Mapping[str, str]
    judgements: Mapping[str, str] = field(default_factory=dict)
    keep_merged: bool = True
    publish: Mapping[str, Any] | None = None
    card: Mapping[str, Any] | None = None
    group: str | None = None
    datasets: tuple[Mapping[str, str], ...] = ()
    trained_on: tuple[str, ...] = ()
    data_known: bool = True

    def made_in(self, stage: str) -> tuple[str, ...]:
        """Return the artifacts of a stage: one, none, or one for each dataset."""
        if stage in self.artifacts:
            return (self.artifacts[stage],)
        return tuple(one[stage] for one in self.datasets if stage in one)

    @property
    def unmerged(self) -> bool:
        """Whether it is scored as model and adapter side by side."""
        if self.kind in ("base", "checkpoint"):
            return False
        return not {"merged", "trained"} & self.artifacts.keys()


class Graph:
    """All artifacts that a config reaches, inputs before what is made of them."""

    def __init__(self, code: CodeOf, lock: Mapping[str, str]) -> None:
        """Start empty.

        Args:
            code: Rule and benchmark kinds -> digest of the program.
            lock: Library -> locked version.
        """
        self._code = code
        self._lock = lock
        self._ids: dict[tuple[str, str], str] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.candidates: list[Candidate] = []
        self.report = ""
        self.budget: str | None = None

    @property
    def targets(self) -> list[str]:
        """What the whole workflow is for: the report, and the check of its budget if it has one."""
        return [self.report, *([self.budget] if self.budget else [])]

    def add(
        self,
        stage: str,
        slug: str,
        spec: Mapping[str, Any],
        *,
        reads: Mapping[str, str | Iterable[str]] | None = None,
        knows: Mapping[str, str | Iterable[str]] | None = None,
        gates: Iterable[Gate] = (),
        sources: Iterable[str] = (),
        execution: Mapping[str, Any] | None = None,
        kinds: Iterable[str] = (),
    ) -> str:
        """Add the artifact, or find the one that is the same work, and return its id.

        Equal work under two names is one artifact: the first slug stays, gates come together.
        """
        read, known = _edges(reads), _edges(knows)
        of_kinds = tuple(sorted(set(kinds)))
        artifact = Artifact(
            stage=stage,
            slug=slug,
            spec=spec,
            code=self._code(STAGES[stage].rule, of_kinds),
            pins=select(self._lock, libraries_of(stage, spec, read)),
            reads=read,
            knows=known,
            gates=tuple(gates),
            sources=tuple(sources),
            keys={
                edge: tuple(self.artifacts[id].key for id in ids)
                for edge, ids in {**read, **known}.items()
            },
            execution=execution or {},
            kinds=of_kinds,
        )
        key = artifact.key
        if (stage, key) in self._ids:
            return self._merge(self._ids[stage, key], artifact)
        id = artifact.id
        self._ids[stage, key] = id
        self.artifacts[id] = artifact
        return id

    def _merge(self, id: str, twin: Artifact) -> str:
        """Give the artifact *id* the gates of its *twin* and return its id."""
        known = self.artifacts[id]
        gates = known.gates + tuple(gate for gate in twin.gates if gate not in known.gates)
        if gates != known.gates:
            self.artifacts[id] = dataclasses.replace(known, gates=gates)
        return id

    def consumers(self) -> dict[str, list[str]]:
        """Return id -> ids of the artifacts that take it as data."""
        result: dict[str, list[str]] = {id: [] for id in self.artifacts}
        for id, artifact in self.artifacts.items():
            for ids in artifact.data.values():
                for source in ids:
                    result[source].append(id)
        return result


def slugify(text: str, *, limit: int = 40) -> str:
    """Return *text* in lower case with only letters, digits, dots and hyphens, cut to *limit*."""
    words = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    return words[:limit].strip("-.") or "x"


def slug_of_path(path: str) -> str:
    """Return the words for a local file or folder: its stem, or its folder where that says more."""
    place = Path(path)
    stem = place.name.split(".")[0] or place.name
    return slugify(place.parent.name if stem in {"train", "data"} else stem)


def _edges(edges: Mapping[str, str | Iterable[str]] | None) -> dict[str, tuple[str, ...]]:
    """Return edges with a tuple of ids each."""
    return {
        edge: (ids,) if isinstance(ids, str) else tuple(ids) for edge, ids in (edges or {}).items()
    }

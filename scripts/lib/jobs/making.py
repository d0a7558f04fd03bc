"""What a job does around the work: it makes artifacts of a frozen plan, several that read alike.

Plumbing, as job.py is: it decides no byte of an artifact.
"""

import argparse
import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.artifacts import in_use
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.errors import StaleError, StoreError
from scripts.lib.jobs.checks import (
    check_fresh,
    check_gates,
    check_inputs,
    check_unchanged,
    planned_artifact,
)
from scripts.lib.jobs.output import (
    build_facts,
    execution_facts,
    finish,
    manifest_of,
    telling_of_room,
)
from scripts.lib.jobs.progress import progress_file
from scripts.lib.plan.missing import read_frozen

SCRATCH_VARIABLE = "TUNESMITH_SCRATCH"
"""Names a folder for journals and checkpoints; it must survive the job and be seen by the retry."""


@dataclass(frozen=True)
class Job:
    """What a program's function gets.

    Attributes:
        spec: What to make.
        inputs: Input -> folders (or manifests, where only those are read).
        ids: Input -> ids of the same artifacts.
        pins: Versions of the libraries that decide the bytes.
        sources: Local files outside results/ that the plan names, in its order.
        out: The temporary folder to fill.
        scratch: A folder of this identity and the bytes of its inputs that survives failures; not
            made yet.
        options: The execution arguments that the program declared.
        execution: What the configuration says of how to do the work; no part of its identity.
    """

    spec: Mapping[str, Any]
    inputs: Mapping[str, tuple[Path, ...]]
    ids: Mapping[str, tuple[str, ...]]
    pins: Mapping[str, str]
    sources: tuple[Path, ...]
    out: Path
    scratch: Path
    options: argparse.Namespace = field(default_factory=argparse.Namespace)
    execution: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """Return the folder of an input that is one artifact."""
        (place,) = self.inputs[name]
        return place

    def named(self, name: str) -> dict[str, Path]:
        """Return id -> folder (or manifest) of an input; nothing where there is none."""
        return dict(zip(self.ids.get(name, ()), self.inputs.get(name, ()), strict=True))

    def manifests(self, name: str) -> dict[str, Any]:
        """Return id -> manifest of an input, whether its files or only its manifests are read."""
        return {
            id: files.read_json(place.with_name(f"{place.name.removesuffix('.json')}.json"))
            for id, place in self.named(name).items()
        }


BatchWork = Callable[[Sequence[Job]], Iterator[dict[str, Any]]]
"""Fills the folders of the jobs, one after the other, and yields the facts of each once it is."""


class Making:
    """One start of a program: its plan, and what it was told."""

    def __init__(self, rule: str, arguments: argparse.Namespace, names: Sequence[str]) -> None:
        frozen = read_frozen(arguments.plan)
        self.rule = rule
        self.arguments = arguments
        self.plan: Path = arguments.plan
        self.given = {name: tuple(getattr(arguments, name)) for name in names}
        self.root = Path(frozen["root"])
        self.store = Store(Path(frozen["results"]), tuple(map(Path, frozen["caches"])))
        self._artifacts = frozen["artifacts"]
        self._batches = frozen["batches"]
        self.late = frozenset(id for batch in self._batches.values() for id in batch["artifacts"])
        self.rank = int(os.environ.get("RANK", "0"))

    def entry(self, id: str) -> Mapping[str, Any]:
        """Return what the plan says of an artifact."""
        found: Mapping[str, Any] = self._planned(self._artifacts, id)
        return found

    def members(self, batch: str) -> list[str]:
        """Return the artifacts of a batch."""
        found: list[str] = self._planned(self._batches, batch)["artifacts"]
        return found

    def _planned(self, entries: Mapping[str, Any], id: str) -> Any:
        if id not in entries:
            raise StaleError(f"{self.plan} does not plan {id}: start the workflow again")
        return entries[id]

    def has_made(self, id: str) -> bool:
        """Tell whether an earlier try of this plan finished an artifact."""
        found = self.store.look(id, self.entry(id)["key"])
        if not found or found.folder != self.store.results / id:
            return False
        made_by = found.manifest["execution"].get("plan")
        return not self.entry(id)["again"] or made_by == self.plan.stem

    def make(self, name: str, ids: Sequence[str], work: BatchWork) -> None:
        """Make artifacts that read alike.

        Args:
            name: Of what is made, for messages.
            ids: The artifacts.
            work: Fills their folders.
        """
        began = time.monotonic()
        makings = [_Artifact(self, id) for id in ids]
        # All of a batch have the same code, libraries and sources.
        for making in makings[:1]:
            check_fresh(self.rule, making.entry, self.root)
        for making in makings:
            check_gates(making.entry)
        temporary = Path(tempfile.gettempdir())
        places = [place for making in makings for place in (making.part, making.kept)]
        # Room is told of before what was written makes room again.
        with ExitStack() as stack:
            stack.enter_context(_use(self, makings))
            if self.rank == 0:
                stack.enter_context(progress_file(self.store.results, name))
            for making in makings:
                stack.enter_context(_removed_at_the_end(making.part))
            places += [*self.store.caches, temporary]
            stack.enter_context(telling_of_room(self.rule, name, places))
            left = [making for making in makings if not making.take()]
            facts = work([making.job() for making in left]) if left else iter(())
            started = began
            for making in left:
                making.work(facts, started)
                started = time.monotonic()
        print(f"{name}: done in {time.monotonic() - began:.1f} s", flush=True)


class _Artifact:
    """One artifact on its way into results/."""

    def __init__(self, invocation: Making, id: str) -> None:
        self._invocation = invocation
        self.id = id
        self.entry = invocation.entry(id)
        self.artifact = planned_artifact(self.entry)
        results = invocation.store.results
        self.place = getattr(invocation.arguments, "artifact", None) or results / id
        self.part = _part_name(self.place, invocation.rank)
        scratch = Path(os.environ.get(SCRATCH_VARIABLE) or results / "scratch")
        self.kept = scratch / f"{self.artifact.stage}-{self.artifact.key}"
        self._found: dict[str, list[Found]] = {}
        self._content_key = ""

    def take(self) -> bool:
        """Look at the inputs, and take the same work done before; tell whether there was any."""
        began = time.monotonic()
        self._found = check_inputs(self.entry, self._invocation.store, self._invocation.late)
        contents = {edge: [one.content for one in found] for edge, found in self._found.items()}
        self._content_key = self.artifact.key_with(contents)
        _remove_leftovers(self.part)
        self.part.mkdir(parents=True)
        if self.entry["again"]:
            return False
        store = self._invocation.store
        twin = store.look(self.id, self.artifact.key, self._content_key)
        if not twin or twin.folder == self.place or not _taken(self.id, twin, store, self.part):
            return False
        self._finish(twin.manifest["facts"], twin.manifest["execution"])
        print(f"{self.id}: done in {time.monotonic() - began:.1f} s", flush=True)
        return True

    def job(self) -> Job:
        """Return what the program's function gets."""
        return Job(
            spec=self.entry["spec"],
            inputs={**_inputs(self.entry), **self._invocation.given},
            ids={**self.artifact.reads, **self.artifact.knows},
            pins=self.artifact.pins,
            sources=tuple(Path(path) for path, _ in self.entry["sources"]),
            out=self.part,
            # Bytes can differ at equal keys: what was begun on others must not go on.
            scratch=self.kept / self._content_key,
            options=self._invocation.arguments,
            execution=self.entry["execution"],
        )

    def work(self, facts: Iterator[dict[str, Any]], began: float) -> None:
        """Have the files written, and finish the artifact, on which time goes since *began*."""
        build = build_facts(self.artifact.pins)
        resumed = {"resumed": True} if any(self.job().scratch.glob("checkpoint-*")) else {}
        found = dict(next(facts))
        told = found.pop("execution", {})  # what the work says of how it was done
        threads = getattr(self._invocation.arguments, "threads", 1)
        execution = {**execution_facts(began, threads, build), **told}
        self._finish(found, {**execution, **resumed, "plan": self._invocation.plan.stem})

    def _finish(self, facts: Mapping[str, Any], execution: Mapping[str, Any]) -> None:
        """Write the manifest and move all into place."""
        if self._invocation.rank:
            return  # the first process of a job writes its artifact
        modules = check_fresh(self._invocation.rule, self.entry, self._invocation.root)
        check_unchanged(self._found)
        manifest = manifest_of(
            self.id,
            self.artifact,
            self._found,
            self._content_key,
            self.part,
            facts,
            execution,
            modules,
        )
        store, again = self._invocation.store, self.entry["again"]
        finish(store, self.part, self.place, manifest, again=again)
        shutil.rmtree(self.kept, ignore_errors=True)


@contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[None]:
    """Remove a folder when the block ends, however it does."""
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _part_name(artifact: Path, rank: int) -> Path:
    """Return a new name, beside *artifact*, for the folder that this process fills."""
    process = f".rank{rank}" if rank else ""
    return artifact.with_name(f".{artifact.name}{process}.part-{secrets.token_hex(4)}")


def _remove_leftovers(part: Path) -> None:
    """Remove what killed jobs of the same artifact left: two never run at once."""
    for old in part.parent.glob(f"{glob.escape(part.name.rpartition('-')[0])}-*"):
        shutil.rmtree(old, ignore_errors=True)


def _use(invocation: Making, makings: Sequence[_Artifact]) -> in_use.Use:
    """Return what the job uses while it lives: what it makes, its plan and its inputs."""
    store = invocation.store
    inputs: dict[Path, None] = {}
    for making in makings:
        edges = [*making.entry["reads"].values(), *making.entry["knows"].values()]
        inputs |= dict.fromkeys(Path(place) for places in edges for _, place in places)
    made = [place for making in makings for place in (making.place, making.part, making.kept)]
    places = [invocation.plan, *made, *inputs]
    # The names of a plan and of its artifacts are relative to the working directory, as results is.
    local = [p.relative_to(store.results) for p in places if p.is_relative_to(store.results)]
    entries = [store.entry_of(place.with_name(f"{place.name}.json")) for place in inputs]
    return in_use.Use(store.results, map(str, local), [entry for entry in entries if entry])


def _taken(id: str, twin: Found, store: Store, part: Path) -> bool:
    """Take the files of the same work done before, and tell whether that went well."""
    if twin.folder is None:
        return False
    print(f"{id}: the same bytes were made before: taken from {twin.folder}", flush=True)
    try:
        store.verify(twin)
        store.take(twin, part)
    except StoreError as error:
        print(f"{id}: {error}; it is made here instead", flush=True)
        shutil.rmtree(part)
        part.mkdir()
        return False
    return True


def _inputs(entry: Mapping[str, Any]) -> dict[str, tuple[Path, ...]]:
    """Return the folders and manifests of all inputs, as the plan has them."""
    reads = {
        edge: tuple(Path(place) for _, place in items) for edge, items in entry["reads"].items()
    }
    knows = {
        edge: tuple(Path(f"{place}.json") for _, place in items)
        for edge, items in entry["knows"].items()
    }
    return {**reads, **knows}

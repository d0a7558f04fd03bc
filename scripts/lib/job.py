"""From a command line to a finished artifact: what every entry program has in common.

A program names its inputs and gives a function that fills a folder. Everything around it is done
from here: the checks against the frozen plan (job_checks.py), the temporary folder, the manifest
and the cache (job_output.py). It decides no byte of an artifact, and so is plumbing (see code.py).
"""

import argparse
import glob
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib import files, usage
from scripts.lib.errors import PipelineError, StaleError, StoreError
from scripts.lib.job_checks import (
    check_fresh,
    check_gates,
    check_inputs,
    check_unchanged,
    planned_artifact,
)
from scripts.lib.job_output import build_facts, execution_facts, finish, manifest_of
from scripts.lib.plan import read_frozen
from scripts.lib.room import telling_of_room
from scripts.lib.store import Found, Store

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


Work = Callable[[Job], dict[str, Any]]


def run_job(
    rule: str,
    work: Work,
    argv: Sequence[str] | None = None,
    *,
    inputs: Sequence[str] = (),
    options: Mapping[str, int] | None = None,
) -> None:
    """Parse the command line of *rule*, make one artifact, and write its manifest.

    Args:
        rule: Name of the rule and the program.
        work: Fills the folder `job.out` and returns the facts for the manifest.
        argv: The arguments; those of the process when None.
        inputs: Names of the inputs that are options: those of one artifact each. Inputs of many
            artifacts come from the plan, since a command line has a limited length.
        options: Execution arguments with their defaults.

    Raises:
        SystemExit: with status 1 and a readable message, when the job cannot or must not run.
    """
    arguments = _parse(rule, argv, inputs, options or {})
    try:
        with telling_of_room(rule, _id(arguments), [arguments.artifact]):
            _run(rule, work, arguments, inputs)
    except PipelineError as error:
        sys.exit(f"{rule}: {error}")


def _parse(
    rule: str, argv: Sequence[str] | None, inputs: Sequence[str], options: Mapping[str, int]
) -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(prog=f"python -m scripts.{rule}")
    parser.add_argument("--plan", type=Path, required=True, help="the frozen plan (results/plans/)")
    parser.add_argument("--artifact", type=Path, required=True, help="folder to make")
    parser.add_argument("--manifest", type=Path, required=True, help="its manifest, written last")
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, nargs=1, required=True, help="input folder")
    for name, default in options.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=default, help="execution only"
        )
    return parser.parse_args(argv)


def _run(rule: str, work: Work, arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """Make the artifact that *arguments* ask for."""
    frozen = read_frozen(arguments.plan)
    id = _id(arguments)
    entry = frozen["artifacts"].get(id)
    if entry is None:
        raise StaleError(f"{arguments.plan} does not plan {id}: start the workflow again")
    root = Path(frozen["root"])
    artifact = planned_artifact(entry)
    store = Store(Path(frozen["results"]), tuple(map(Path, frozen["caches"])))
    check_fresh(rule, entry, root)
    check_gates(entry)
    rank = int(os.environ.get("RANK", "0"))
    part = _part_name(arguments.artifact, rank)
    kept = Path(os.environ.get(SCRATCH_VARIABLE) or store.results / "scratch") / (
        f"{artifact.stage}-{artifact.key}"
    )
    began = time.monotonic()
    places = [part, kept, *store.caches, Path(os.environ.get("TMPDIR", "/tmp"))]
    # Room is told of before what was written makes room again.
    with (
        _use(entry, arguments, store, part, kept),
        _removed_at_the_end(part),
        telling_of_room(rule, id, places),
    ):
        found = check_inputs(entry, store)
        content_key = artifact.key_with(_contents(found))
        _remove_leftovers(part)
        part.mkdir(parents=True)
        twin = None if entry["again"] else store.look(id, artifact.key, content_key)
        if twin and twin.folder != arguments.artifact and _taken(id, twin, store, part):
            facts, execution = twin.manifest["facts"], twin.manifest["execution"]
        else:
            job = Job(
                spec=entry["spec"],
                inputs=_inputs(entry, arguments, names),
                ids={**artifact.reads, **artifact.knows},
                pins=artifact.pins,
                sources=tuple(Path(path) for path, _ in entry["sources"]),
                out=part,
                # Bytes can differ at equal keys: what was begun on others must not go on.
                scratch=kept / content_key,
                options=arguments,
                execution=entry["execution"],
            )
            build = build_facts(artifact.pins)
            facts = work(job)
            execution = execution_facts(began, getattr(arguments, "threads", 1), build)
        if rank:
            return  # the first process of a job writes its artifact
        modules = check_fresh(rule, entry, root)
        check_unchanged(found)
        manifest = manifest_of(id, artifact, found, content_key, part, facts, execution, modules)
        finish(store, part, arguments.artifact, manifest, again=entry["again"])
    shutil.rmtree(kept, ignore_errors=True)
    print(f"{id}: done in {time.monotonic() - began:.1f} s", flush=True)


@contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[None]:
    """Remove a folder when the block ends, however it does."""
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _id(arguments: argparse.Namespace) -> str:
    """Return the id of the artifact that is to be made."""
    return "/".join(arguments.artifact.parts[-2:])


def _part_name(artifact: Path, rank: int) -> Path:
    """Return a new name, beside *artifact*, for the folder that this process fills."""
    process = f".rank{rank}" if rank else ""
    return artifact.with_name(f".{artifact.name}{process}.part-{secrets.token_hex(4)}")


def _remove_leftovers(part: Path) -> None:
    """Remove what killed jobs of the same artifact left: two never run at once."""
    for old in part.parent.glob(f"{glob.escape(part.name.rpartition('-')[0])}-*"):
        shutil.rmtree(old, ignore_errors=True)


def _contents(found: Mapping[str, Sequence[Found]]) -> dict[str, list[str]]:
    """Return edge -> content hashes of the inputs."""
    return {edge: [item.content for item in items] for edge, items in found.items()}


def _use(
    entry: Mapping[str, Any], arguments: argparse.Namespace, store: Store, *made: Path
) -> usage.Use:
    """Return what the job uses while it lives: what it makes, its plan and its inputs."""
    edges = [*entry["reads"].values(), *entry["knows"].values()]
    inputs = [Path(place) for places in edges for _, place in places]
    places = [arguments.artifact, arguments.plan, *made, *inputs]
    # The names of a plan and of its artifacts are relative to the working directory, as results is.
    local = [p.relative_to(store.results) for p in places if p.is_relative_to(store.results)]
    entries = [store.entry_of(place.with_name(f"{place.name}.json")) for place in inputs]
    return usage.Use(store.results, map(str, local), [entry for entry in entries if entry])


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


def _inputs(
    entry: Mapping[str, Any], arguments: argparse.Namespace, names: Sequence[str]
) -> dict[str, tuple[Path, ...]]:
    """Return the folders and manifests of all inputs: from the command line, else from the plan."""
    reads = {edge: [Path(place) for _, place in items] for edge, items in entry["reads"].items()}
    knows = {
        edge: [Path(f"{place}.json") for _, place in items]
        for edge, items in entry["knows"].items()
    }
    given = {name: getattr(arguments, name) for name in names}
    return {edge: tuple(places) for edge, places in {**reads, **knows, **given}.items()}

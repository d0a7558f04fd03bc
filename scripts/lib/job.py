"""From a command line to a finished artifact: what every entry program has in common.

A program names its inputs and gives a function that fills a folder. Everything around it is here:
the checks against the frozen plan, the gates, the temporary folder, the manifest, the cache. It
decides no byte of an artifact, and so is plumbing (see code.py).
"""

import argparse
import contextlib
import glob
import os
import platform
import resource
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib import files, usage
from scripts.lib.code import code_digest
from scripts.lib.errors import PipelineError, StaleError, StoreError
from scripts.lib.gates import check_gate
from scripts.lib.graph import Artifact
from scripts.lib.pins import check_installed
from scripts.lib.plan import read_frozen
from scripts.lib.stages import STAGES
from scripts.lib.store import Found, Store

SCRATCH_VARIABLE = "TUNESMITH_SCRATCH"
"""Names a folder for journals and checkpoints; it must survive the job and be seen by the retry."""

PUBLISHING_TRIES = 3
"""How often an artifact is offered to a cache whose entry of it turns out to be damaged."""


@dataclass(frozen=True)
class Job:
    """What a program's function gets.

    Attributes:
        spec: What to make.
        inputs: Input -> folders (or manifests, where only those are read).
        ids: Input -> ids of the same artifacts.
        sources: Local files outside results/ that the plan names, in its order.
        out: The temporary folder to fill.
        scratch: A folder of this identity that survives failures; not made yet.
        options: The execution arguments that the program declared.
    """

    spec: Mapping[str, Any]
    inputs: Mapping[str, tuple[Path, ...]]
    ids: Mapping[str, tuple[str, ...]]
    sources: tuple[Path, ...]
    out: Path
    scratch: Path
    options: argparse.Namespace = field(default_factory=argparse.Namespace)

    def folder(self, name: str) -> Path:
        """Return the folder of an input that is one artifact."""
        (place,) = self.inputs[name]
        return place

    def named(self, name: str) -> dict[str, Path]:
        """Return id -> folder (or manifest) of an input."""
        return dict(zip(self.ids[name], self.inputs[name], strict=True))

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
    id = "/".join(arguments.artifact.parts[-2:])
    entry = frozen["artifacts"].get(id)
    if entry is None:
        raise StaleError(f"{arguments.plan} does not plan {id}: start the workflow again")
    root = Path(frozen["root"])
    artifact = _artifact(entry)
    store = Store(Path(frozen["results"]), tuple(map(Path, frozen["caches"])))
    check_fresh(rule, entry, root)
    _check_gates(entry)
    rank = int(os.environ.get("RANK", "0"))
    part = _part_name(arguments.artifact, rank)
    scratch = Path(os.environ.get(SCRATCH_VARIABLE) or store.results / "scratch") / (
        f"{artifact.stage}-{artifact.key}"
    )
    began = time.monotonic()
    with _use(entry, arguments, store, part, scratch):
        found = _check_inputs(entry, store)
        content_key = artifact.key_with(_contents(found))
        _remove_leftovers(part)
        part.mkdir(parents=True)
        try:
            twin = None if entry["again"] else store.look(id, artifact.key, content_key)
            if twin and twin.folder != arguments.artifact and _taken(id, twin, store, part):
                facts, execution = twin.manifest["facts"], twin.manifest["execution"]
            else:
                job = Job(
                    spec=entry["spec"],
                    inputs=_inputs(entry, arguments, names),
                    ids={**artifact.reads, **artifact.knows},
                    sources=tuple(Path(path) for path, _ in entry["sources"]),
                    out=part,
                    scratch=scratch,
                    options=arguments,
                )
                facts = work(job)
                execution = _execution(began, arguments)
            if rank:
                return  # the first process of a job writes its artifact
            check_fresh(rule, entry, root)
            _check_unchanged(found)
            manifest = _manifest(id, artifact, found, content_key, part, facts, execution)
            _finish(store, arguments, part, manifest, again=entry["again"])
        finally:
            shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"{id}: done in {time.monotonic() - began:.1f} s", flush=True)


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


def _check_unchanged(found: Mapping[str, Sequence[Found]]) -> None:
    """Make sure that no input was made anew, of other bytes, while the job read it.

    Raises:
        StaleError: when one was. One that is gone was whole when it was read.
    """
    for item in (item for items in found.values() for item in items):
        with contextlib.suppress(OSError, ValueError):
            if files.read_json(item.manifest_path).get("content") != item.content:
                raise StaleError(f"{item.id} was made anew while this job read it: run again")


def check_fresh(rule: str, entry: Mapping[str, Any], root: Path) -> None:
    """Compare the code, the libraries and the raw files with those of the plan.

    Raises:
        StaleError: when one of them has changed since.
    """
    if code_digest(root / "scripts" / f"{rule}.py", root) != entry["code"]:
        raise StaleError(
            f"the code behind scripts/{rule}.py was edited since this workflow was planned; nothing"
            " was written under the old key. Start the workflow again (what was made so far stays)"
        )
    check_installed(entry["pins"])
    for path, stat in entry["sources"]:
        place = Path(path)
        if not place.exists() or list(files.stat_of(place)) != stat:
            raise StaleError(
                f"{path} was changed since this workflow was planned: start the workflow again"
            )


def _artifact(entry: Mapping[str, Any]) -> Artifact:
    """Return the artifact of a plan's entry; keys of inputs are the tails of their ids."""

    def ids(edges: Mapping[str, list[list[str]]]) -> dict[str, tuple[str, ...]]:
        return {edge: tuple(source for source, _ in places) for edge, places in edges.items()}

    reads, knows = ids(entry["reads"]), ids(entry["knows"])
    artifact = Artifact(
        stage=entry["stage"],
        slug=entry["slug"],
        spec=entry["spec"],
        code=entry["code"],
        pins=entry["pins"],
        reads=reads,
        knows=knows,
        keys={
            edge: tuple(id.rpartition("-")[2] for id in ids)
            for edge, ids in {**reads, **knows}.items()
        },
    )
    if artifact.key != entry["key"]:
        raise StaleError(f"the plan is damaged: {artifact.id} has the key {entry['key']} in it")
    return artifact


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


def _check_gates(entry: Mapping[str, Any]) -> None:
    """Ask every gate."""
    for kind, artifact, place, limit in entry["gates"]:
        check_gate(kind, artifact, files.read_json(Path(f"{place}.json"))["facts"], limit)


def _check_inputs(entry: Mapping[str, Any], store: Store) -> dict[str, list[Found]]:
    """Return every data input, after comparing the files that are read with their manifests."""
    result: dict[str, list[Found]] = {}
    for edges, reads in ((entry["reads"], True), (entry["knows"], False)):
        for edge, places in edges.items():
            result[edge] = [
                _check_input(source, Path(place), store, reads=reads) for source, place in places
            ]
    return result


def _check_input(id: str, folder: Path, store: Store, *, reads: bool) -> Found:
    """Return one input."""
    manifest_path = folder.with_name(f"{folder.name}.json")
    try:
        manifest = files.read_json(manifest_path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{manifest_path} cannot be read ({error}): run again") from error
    found = Found(id, folder if reads else None, manifest_path, manifest)
    if reads:
        store.verify(found)
    return found


def _manifest(
    id: str,
    artifact: Artifact,
    found: Mapping[str, Sequence[Found]],
    content_key: str,
    folder: Path,
    facts: Mapping[str, Any],
    execution: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the manifest of the files in *folder*."""
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


def _execution(began: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how the work was done: time, memory, machine; no part of any identity."""
    peak_kib = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "seconds": round(time.monotonic() - began, 3),
        "peak_gib": round(peak_kib / 2**20, 3),
        "threads": getattr(arguments, "threads", 1),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def _finish(
    store: Store,
    arguments: argparse.Namespace,
    part: Path,
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
    shutil.rmtree(arguments.artifact, ignore_errors=True)
    os.rename(part, arguments.artifact)
    files.write_json(arguments.manifest, manifest)
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

"""People who share a cache: each a user of their own with a umask, a group and a working folder.

Only root can be several users. Without it everybody is the user who runs the tests: what concerns
rights is skipped then, what concerns races is not.
"""

import multiprocessing
import os
import random
import secrets
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Store
from scripts.lib.files import read_json
from scripts.lib.jobs.job import Job, run_job
from scripts.lib.plan.missing import freeze, make_plan

TEAM = 12100
"""The group that owns the cache; no user has it as the first one."""

RESULTS = Path("results")
DATASETS = ("one", "two")
PROGRAMS = ("fetch_dataset", "format_chat")


@dataclass(frozen=True)
class Person:
    """Someone who runs workflows.

    Attributes:
        name: Named in the bytes that they make.
        uid: User and first group; None to stay who one is.
        umask: As set by their shell.
        member: Whether they are in the group that owns the cache.
    """

    name: str
    uid: int | None
    umask: int
    member: bool = True

    def start(self, work: Callable[..., object], *arguments: object) -> BaseProcess:
        """Start *work* as this person in a process of its own; it fails with the work."""
        context = multiprocessing.get_context("fork")
        # A daemon: a test that fails leaves nobody waiting.
        process = context.Process(target=self._be, args=(work, arguments), daemon=True)
        process.start()
        return process

    def do(self, work: Callable[..., object], *arguments: object) -> int:
        """Do *work* as this person and return the exit code."""
        process = self.start(work, *arguments)
        process.join()
        return process.exitcode

    def _be(self, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
        if self.uid is not None:
            os.setgroups([TEAM] if self.member else [])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)
        os.umask(self.umask)
        work(*arguments)

    def home(self, base: Path) -> Path:
        """Make and return a new working folder of this person's own."""
        folder = base / f"{self.name}-{secrets.token_hex(3)}"
        folder.mkdir()
        if self.uid is not None:
            os.chown(folder, self.uid, self.uid)
        return folder


def people(*, several: bool) -> tuple[Person, Person, Person]:
    """Return two who publish, one of them secretive, and one who only looks in from outside."""
    uids = (12001, 12002, 12003) if several else (None, None, None)
    return (
        Person("ann", uids[0], 0o077),
        Person("bob", uids[1], 0o022),
        Person("eve", uids[2], 0o022, member=False),
    )


def make_cache(base: Path, mode: int = 0o2770) -> Path:
    """Make the root of a cache as docs/cache.md says."""
    cache = base / "cache"
    cache.mkdir()
    if os.geteuid() == 0:
        os.chown(cache, -1, TEAM)
    cache.chmod(mode)
    return cache


def make_project(base: Path) -> Path:
    """Make the programs whose digests the plans hold, and the rows that they fetch."""
    root = base / "project"
    (root / "scripts").mkdir(parents=True)
    for name in PROGRAMS:
        (root / "scripts" / f"{name}.py").write_text("X = 1\n")
    for name in DATASETS:
        (root / f"{name}.jsonl").write_text("{}\n")
    return root


def graph_of(root: Path) -> Graph:
    """Return two datasets and the conversations made of each."""
    graph = Graph(ProjectCode(root).digest, {"pyarrow": version("pyarrow")})
    for name in DATASETS:
        spec = {"source": "path", "files": {name: "0"}}
        raw = graph.add("raw", name, spec, sources=[str(root / f"{name}.jsonl")])
        graph.add("chat", name, {"format": "auto"}, reads={"raw": raw})
    return graph


def plan(root: Path, cache: Path) -> tuple[list[str], Path]:
    """Plan in the working folder: return what is to be made, inputs first, and the frozen plan."""
    graph = graph_of(root)
    targets = [id for id in graph.artifacts if id.startswith("chat/")]
    made = make_plan(graph, Store(RESULTS, (cache,)), targets=targets)
    return list(made.missing), freeze(made, results=RESULTS, caches=[cache], root=root)


def run(id: str, file: Path, work: Callable[[Job], dict[str, Any]]) -> None:
    """Run one job of a plan as its rule does."""
    rule = STAGES[id.partition("/")[0]].rule
    argv = ["--plan", str(file), "--artifact", f"results/{id}", "--manifest", f"results/{id}.json"]
    reads = read_json(file)["artifacts"][id]["reads"]
    for edge, ((_, place),) in reads.items():
        argv += [f"--{edge}", place]
    run_job(rule, work, argv, inputs=tuple(reads))


def workflow(
    home: Path, root: Path, cache: Path, name: str, planned: Callable[[], object] = lambda: None
) -> None:
    """Plan and make what is missing, as Snakemake does; every job writes bytes of its own.

    Args:
        home: Working folder.
        root: The project.
        cache: The shared cache.
        name: Named in the bytes and in the manifests.
        planned: Called between the plan and the first job.
    """
    with chdir(home):
        missing, file = plan(root, cache)
        planned()
        for id in missing:
            run(id, file, lambda job: write_own(job, name))


def write_own(job: Job, name: str) -> dict[str, Any]:
    """Write files that no two jobs write alike, though their keys are equal."""
    salt = f"{name} {secrets.token_hex(8)}\n"
    for number in range(3):
        (job.out / "part").mkdir(exist_ok=True)
        (job.out / f"part/{number}.jsonl").write_text(salt * random.randrange(1, 4000))
    return {"writer": name}

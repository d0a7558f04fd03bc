"""A small project on disk, planned and run by the real code; only the work itself is pretended.

A pretended job writes one file whose bytes follow from its stage, its spec and the bytes of the
inputs that it reads, so that equal work gives equal bytes and other inputs give other ones. Raw
files, local models and local benchmarks are brought in by the real functions.
"""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Store
from scripts.lib.canonical import digest
from scripts.lib.config.load import load_config
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.fetch.datasets import fetch_dataset
from scripts.lib.fetch.models import fetch_model
from scripts.lib.jobs.job import Job, run_batch, run_job
from scripts.lib.plan import invocation as planning
from scripts.lib.plan.invocation import Invocation
from scripts.lib.plan.missing import Plan, make_plan
from scripts.tools.frozen_commands import INPUTS

OPTIONS = {
    "train_adapter": {"threads": 1, "micro_batch": 0},
    "train_model": {"threads": 1, "micro_batch": 0},
    "score_benchmark": {"threads": 1, "score_batch": 8},
}
"""Rule -> its execution arguments."""

FACTS = {
    "benchmarks": {"tasks": {}, "unsafe_code": []},
    "chat": {"summary": {"rows": 2, "dropped": 0, "by_reason": {}, "dropped_fraction": 0.0}},
    "contamination": {"contamination": {}},
    "decontaminated": {
        "summary": {"rows": 2, "dropped": 0, "by_reason": {}, "dropped_fraction": 0.0}
    },
    "shards": {
        "contract": {"passed": True, "checks": []},
        "tokens": {"conversations": 2, "kept": 2, "dropped": {}, "growth": 1.0},
    },
    "adapters": {"verdict": {"verdict": "healthy", "evidence": "", "remedy": ""}},
    "trained": {"verdict": {"verdict": "healthy", "evidence": "", "remedy": ""}},
    "proofs": {"proof": {"passed": True, "checks": []}},
}
"""Stage -> findings that let the next steps start."""

SHARED = (
    *("raw", "models", "benchmarks", "chat", "contamination", "decontaminated", "shards"),
    "examples",
)
"""Stages whose artifacts belong to nobody alone: they are named by their slug."""


@dataclass
class World:
    """One project, one working directory, and what was done there.

    Attributes:
        base: Holds the working directory `home`, the `project` and, where used, caches.
        config: The configuration of the next plan.
        caches: What TUNESMITH_CACHE names, from `base`.
        salts: Stage -> words that its work mixes in: new code that writes other bytes.
        facts: Stage -> findings of its work, where they are not the good ones.
        worked: Ids whose work was really done, in order.
        during: Called before the work of a job is done, with its id.
    """

    base: Path
    config: dict[str, Any]
    caches: tuple[str, ...] = ()
    salts: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    worked: list[str] = field(default_factory=list)
    during: Callable[[str], None] = lambda id: None

    @property
    def home(self) -> Path:
        """The working directory."""
        return self.base / "home"

    @property
    def root(self) -> Path:
        """The copy of the project: programs, library, lock."""
        return self.base / "project"

    @property
    def results(self) -> Path:
        """Where artifacts go."""
        return self.home / "results"

    def copy(self, base: Path, *, results: bool = True) -> "World":
        """Return a twin in the new folder *base*.

        Files are hard links and the project is a link, so `write` and `edit` replace.

        Args:
            base: The folder to make.
            results: Whether what was made comes along; shared caches do in any case.
        """

        def left(folder: str, _: list[str]) -> list[str]:
            return {str(self.base): ["project"], str(self.home): ["results"][results:]}.get(
                folder, []
            )

        shutil.copytree(self.base, base, copy_function=os.link, ignore=left)
        (base / "project").symlink_to(self.root.resolve())
        return World(
            base, copy.deepcopy(self.config), self.caches, dict(self.salts), dict(self.facts)
        )

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Work in the working directory, with the caches of this world."""
        before = os.environ.pop(planning.CACHE_VARIABLE, None)
        if self.caches:
            places = [str(self.base / name) for name in self.caches]
            os.environ[planning.CACHE_VARIABLE] = os.pathsep.join(places)
        try:
            with chdir(self.home):
                yield
        finally:
            os.environ.pop(planning.CACHE_VARIABLE, None)
            if before is not None:
                os.environ[planning.CACHE_VARIABLE] = before

    def invoke(self) -> Invocation:
        """Plan and freeze the plan, as the main process of a workflow does."""
        with self.inside():
            return planning.plan_invocation(self.config, self.root)

    def graph(self) -> Graph:
        """Return the graph as it stands."""
        with self.inside():
            return planning.graph_of(self.config, self.root)

    def plan(self) -> Plan:
        """Plan without freezing."""
        with self.inside():
            redo = load_config(self.config).redo
            return make_plan(self.graph(), planning.open_store(), redo=redo)

    def store(self) -> Store:
        """Return the store; use it in `inside`."""
        with self.inside():
            return planning.open_store()

    def missing(self) -> set[str]:
        """Return what the next plan would make, in words."""
        return words(self.plan())

    def run(
        self,
        invocation: Invocation | None = None,
        *,
        stages: Iterable[str] = tuple(STAGES),
        options: tuple[str, ...] = (),
    ) -> set[str]:
        """Make what is missing, job by job, and return in words what was really done.

        Args:
            invocation: A plan of before; a new one when None.
            stages: Only the jobs of these.
            options: Execution arguments for training and scoring.
        """
        invocation = invocation or self.invoke()
        begun = len(self.worked)
        batches = self.batches(invocation)
        later = {id for ids in batches.values() for id in ids[1:]}
        for id in invocation.plan.missing:
            if id.partition("/")[0] in stages and id not in later:
                self.job(invocation, id, options)
        done = self.worked[begun:]
        return {word for id in done for word in words_of(invocation.plan.graph, id)}

    def batches(self, invocation: Invocation) -> dict[str, list[str]]:
        """Return the batches of a plan: name -> the artifacts that one job makes."""
        with self.inside():
            planned = files.read_json(invocation.file)["batches"]
        return {name: batch["artifacts"] for name, batch in planned.items()}

    def job(self, invocation: Invocation, id: str, options: tuple[str, ...] = ()) -> None:
        """Run one job of a plan as its rule does; that of a batch makes all of the batch."""
        rule = STAGES[invocation.plan.graph.artifacts[id].stage].rule
        argv = ["--plan", str(invocation.file), *(options if rule in OPTIONS else ())]
        named = {"inputs": INPUTS.get(rule, ()), "options": OPTIONS.get(rule, {})}
        batch = next((n for n, ids in self.batches(invocation).items() if id in ids), None)
        with self.inside():
            entry = files.read_json(invocation.file)["artifacts"][id]
            for name in named["inputs"]:
                argv += [f"--{name}", *(place for _, place in entry["reads"][name])]
            if batch:
                run_batch(
                    rule, self._work_all, [*argv, "--batch", f"results/{batch}.json"], **named
                )
                return
            argv += ["--artifact", f"results/{id}", "--manifest", f"results/{id}.json"]
            run_job(rule, lambda job: self._work(id, job), argv, **named)

    def _work_all(self, jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
        """Do the work of a batch, artifact by artifact."""
        for job in jobs:
            stage, name = job.out.parts[-2:]
            yield self._work(f"{stage}/{name[1:].partition('.part-')[0]}", job)

    def _work(self, id: str, job: Job) -> dict[str, Any]:
        """Do the work of one job."""
        self.during(id)
        self.worked.append(id)
        stage = id.partition("/")[0]
        fetch = {"raw": fetch_dataset, "benchmarks": fetch_benchmark, "models": fetch_model}
        if stage in fetch and job.spec["source"] == "path":
            return fetch[stage](job.spec, job.sources, job.out)
        read = {edge: [_bytes_of(place) for place in job.inputs[edge]] for edge in job.inputs}
        if stage == "decontaminated":  # what is left depends on what was found, not on the search
            del read["searches"]
        made = {"stage": stage, "spec": job.spec, "read": read, "salt": self.salts.get(stage, "")}
        (job.out / "made.txt").write_text(digest(made, digits=64))
        if stage == "models":  # what comes from elsewhere brings a chat template
            (job.out / "chat_template.jinja").write_text("{{ messages }}")
        return self.facts.get(stage, FACTS.get(stage, {}))

    def write(self, name: str, text: str) -> Path:
        """Put *text* into a file of the working directory, as a new file."""
        return _replace(self.home / name, text)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change the text of a file of the project, of which the world then has its own copy."""
        if self.root.is_symlink():
            shared = self.root.resolve()
            self.root.unlink()
            shutil.copytree(shared, self.root, copy_function=os.link)
        place = self.root / name
        _replace(place, change(place.read_text()))

    def manifest(self, id: str) -> dict[str, Any]:
        """Return a local manifest."""
        found: dict[str, Any] = json.loads((self.results / f"{id}.json").read_text())
        return found

    def ids(self, word: str) -> list[str]:
        """Return the ids that *word* stands for, as the config now has it."""
        graph = self.graph()
        return [id for id in graph.artifacts if word in words_of(graph, id)]

    def id(self, word: str) -> str:
        """Return the one id that *word* stands for."""
        (id,) = self.ids(word)
        return id

    def evict(self, word: str) -> None:
        """Remove the folders behind *word*; the manifests stay."""
        for id in self.ids(word):
            shutil.rmtree(self.results / id)


def _bytes_of(place: Path) -> Any:
    """Return what stands for the bytes of an input: of its files, or of what a manifest tells."""
    if place.suffix == ".json":
        return files.read_json(place)["content"]
    return [[entry.path, entry.sha256] for entry in files.list_files(place)]


def _replace(place: Path, text: str) -> Path:
    """Write a file anew, so that a hard link elsewhere keeps its text."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_text(text)
    return place


def words(plan: Plan) -> set[str]:
    """Return what *plan* makes, in words."""
    return {word for id in plan.missing for word in words_of(plan.graph, id)}


def words_of(graph: Graph, id: str) -> set[str]:
    """Return the words for one artifact: its stage, and its slug or whom it belongs to."""
    artifact = graph.artifacts[id]
    if artifact.stage in SHARED:
        return {f"{artifact.stage}:{artifact.slug}"}
    if artifact.stage in ("comparisons", "reports", "budgets"):
        return {artifact.stage}
    found = set()
    for candidate in graph.candidates:
        if candidate.artifacts.get(artifact.stage) == id:
            found.add(f"{artifact.stage}:{candidate.name}")
        for label in candidate.scores:
            one = [group.get(label) for group in (candidate.categories, candidate.judgements)]
            if id in (*candidate.scores[label], *one):
                found.add(f"{artifact.stage}:{candidate.name}/{label}")
    return found

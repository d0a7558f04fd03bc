"""A small project on disk, planned and run by the real code; only the work itself is pretended.

A pretended job writes one file whose bytes follow from its stage, its spec and the bytes of the
inputs that it reads, so that equal work gives equal bytes and other inputs give other ones. Raw
files, local models and local benchmarks are brought in by the real functions.
"""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib import files, planning
from scripts.lib.canonical import digest
from scripts.lib.config import load_config
from scripts.lib.fetching import fetch_dataset
from scripts.lib.fetching_benchmarks import fetch_benchmark
from scripts.lib.fetching_models import fetch_model
from scripts.lib.graph import Graph
from scripts.lib.job import Job, run_job
from scripts.lib.plan import Plan, make_plan
from scripts.lib.planning import Invocation
from scripts.lib.stages import STAGES
from scripts.lib.store import Store

PROJECT = Path(__file__).parents[2]

INPUTS = {
    "format_chat": ("raw",),
    "render_shards": ("chat", "model"),
    "train_adapter": ("model", "shards"),
    "combine_adapters": ("model",),
    "merge_adapter": ("model", "adapter"),
    "prove_merge": ("model", "adapter", "merged"),
    "score_benchmark": ("model", "benchmark"),
    "judge_pairs": ("base", "run", "benchmark", "judge"),
    "ask_judge": ("base", "run", "benchmark"),
}
"""Rule -> the inputs that its command line names."""

OPTIONS = {
    "train_adapter": {"threads": 1, "micro_batch": 0},
    "score_benchmark": {"threads": 1, "score_batch": 8},
}
"""Rule -> its execution arguments."""

FACTS = {
    "benchmarks": {"tasks": {}, "unsafe_code": []},
    "chat": {"summary": {"rows": 2, "dropped": 0, "by_reason": {}, "dropped_fraction": 0.0}},
    "shards": {"contract": {"passed": True, "checks": []}},
    "adapters": {"verdict": {"verdict": "healthy", "evidence": "", "remedy": ""}},
    "proofs": {"proof": {"passed": True, "checks": []}},
}
"""Stage -> findings that let the next steps start."""

SHARED = ("raw", "models", "benchmarks", "chat", "shards")
"""Stages whose artifacts belong to nobody alone: they are named by their slug."""

SUBJECTS = ("anatomy", "astronomy", "college_physics", "philosophy", "sociology")


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
        for id in invocation.plan.missing:
            if id.partition("/")[0] in stages:
                self.job(invocation, id, options)
        done = self.worked[begun:]
        return {word for id in done for word in words_of(invocation.plan.graph, id)}

    def job(self, invocation: Invocation, id: str, options: tuple[str, ...] = ()) -> None:
        """Run one job of a plan as its rule does."""
        artifact = invocation.plan.graph.artifacts[id]
        rule = STAGES[artifact.stage].rule
        argv = ["--plan", str(invocation.file)]
        argv += ["--artifact", f"results/{id}", "--manifest", f"results/{id}.json"]
        with self.inside():
            entry = files.read_json(invocation.file)["artifacts"][id]
            for name in INPUTS.get(rule, ()):
                ((_, place),) = entry["reads"][name]
                argv += [f"--{name}", place]
            run_job(
                rule,
                lambda job: self._work(id, job),
                [*argv, *(options if rule in OPTIONS else ())],
                inputs=INPUTS.get(rule, ()),
                options=OPTIONS.get(rule, {}),
            )

    def _work(self, id: str, job: Job) -> dict[str, Any]:
        """Do the work of one job."""
        self.during(id)
        self.worked.append(id)
        stage = id.partition("/")[0]
        fetch = {"raw": fetch_dataset, "benchmarks": fetch_benchmark, "models": fetch_model}
        if stage in fetch and job.spec["source"] == "path":
            return fetch[stage](job.spec, job.sources, job.out)
        read = {edge: [_bytes_of(place) for place in job.inputs[edge]] for edge in job.inputs}
        made = {"stage": stage, "spec": job.spec, "read": read, "salt": self.salts.get(stage, "")}
        (job.out / "made.txt").write_text(digest(made, digits=64))
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
    if artifact.stage in ("comparisons", "reports"):
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


def jsonl(*rows: dict[str, Any]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def question(text: str) -> dict[str, Any]:
    """Return one question in MMLU's schema."""
    return {"question": text, "choices": ["1", "2", "3", "4"], "answer": 0}


def make_project(base: Path) -> None:
    """Copy what code digests and pins are taken from."""
    shutil.copytree(
        PROJECT / "scripts",
        base / "project" / "scripts",
        ignore=shutil.ignore_patterns("__pycache__", "tools"),
    )
    shutil.copyfile(PROJECT / "requirements.lock", base / "project" / "requirements.lock")


def make_local_world(base: Path) -> World:
    """Make the world of local files: one model, two datasets, three runs, two benchmarks.

    Two runs share their shards; the third has its own template. The benchmark has a subject that
    the config does not ask for.
    """
    make_project(base)
    world = World(base, local_config())
    for name, text in {"config.json": "{}", "model.safetensors": "w" * 64}.items():
        world.write(f"data/tiny/{name}", text)
    world.write("data/tiny/tokenizer.json", '{"version": "1"}')
    # In the order of their paths the held-out rows come first, in the order of splits last.
    world.write("data/orders/train.jsonl", jsonl({"prompt": "a", "completion": "b"}))
    world.write("data/orders/held_out.jsonl", jsonl({"prompt": "c", "completion": "d"}))
    world.write("data/chats.jsonl", jsonl({"messages": [{"role": "user", "content": "hello"}]}))
    world.write("data/plain.jinja", "{{ messages[0]['content'] }}")
    for subject in SUBJECTS:
        world.write(f"data/mmlu/test/{subject}.jsonl", jsonl(question(f"test {subject}")))
        world.write(f"data/mmlu/dev/{subject}.jsonl", jsonl(question(f"dev {subject}")))
    world.write("data/exact/questions.jsonl", jsonl({"prompt": "one tea", "answer": "1 TEA"}))
    return world


def local_config() -> dict[str, Any]:
    """Return the config of the local world."""
    gentle = {
        "model": "tiny",
        "dataset": "orders",
        "lora": {"r": 8, "alpha": 16, "dropout": 0.1},
        "training": {"learning_rate": 2e-4, "seed": 1, "max_length_tokens": 256},
    }
    strong = copy.deepcopy(gentle) | {
        "training": {"learning_rate": 1.6e-3, "seed": 1, "max_length_tokens": 256}
    }
    chatty = copy.deepcopy(gentle) | {"dataset": "chats", "template": "data/plain.jinja"}
    return {
        "models": {"tiny": {"path": "data/tiny"}},
        "datasets": {
            "orders": {
                "files": {"train": "data/orders/train.jsonl", "valid": "data/orders/held_out.jsonl"}
            },
            "chats": {"path": "data/chats.jsonl"},
        },
        "runs": {"gentle": gentle, "strong": strong, "chatty": chatty},
        "benchmarks": {
            "mmlu": {
                "kind": "mmlu",
                "path": "data/mmlu",
                "shots": 1,
                "subjects": ["anatomy", "astronomy", "college_physics", "philosophy"],
            },
            "exact": {"kind": "exact_match", "path": "data/exact/questions.jsonl"},
        },
    }


def make_hub_world(base: Path) -> World:
    """Make the world of pinned repositories and a GGUF file: two models, one run."""
    make_project(base)
    config = {
        "models": {
            "remote": {"hub": "acme/remote", "revision": "a" * 40},
            "packed": {"path": "data/packed", "gguf": "small.gguf"},
        },
        "datasets": {"talks": {"hub": "acme/talks", "revision": "b" * 40, "name": "plain"}},
        "runs": {"polite": {"model": "remote", "dataset": "talks"}},
        "benchmarks": {
            "mmlu": {
                "kind": "mmlu",
                "hub": "acme/mmlu",
                "revision": "c" * 40,
                "subjects": ["anatomy"],
            }
        },
    }
    world = World(base, config)
    world.write("data/packed/small.gguf", "weights")
    return world


def make_choice_world(base: Path) -> World:
    """Make the world of a user's own questions: one model, multiple choice with solved examples."""
    world = make_local_world(base)
    world.config = {
        "models": world.config["models"],
        "benchmarks": {
            "own": {
                "kind": "multiple_choice",
                "path": "data/own/test.jsonl",
                "shots_path": "data/own/solved.jsonl",
                "shots": 1,
                "category_column": "field",
            }
        },
    }
    for name in ("test", "solved"):
        rows = [question(name) | {"field": f"{field}s", "kind": "k"} for field in ("law", "art")]
        world.write(f"data/own/{name}.jsonl", jsonl(*rows, *rows))
    return world


def make_held_out_world(base: Path) -> World:
    """Make the world of held-out conversations: one model, two datasets that no run uses."""
    world = make_local_world(base)
    files = {split: f"data/orders/{split}.jsonl" for split in ("train", "test")}
    files["valid"] = "data/orders/held_out.jsonl"
    world.write("data/orders/test.jsonl", jsonl({"prompt": "e", "completion": "f"}))
    domain = {"kind": "held_out", "dataset": "orders", "max_new_tokens": 4}
    world.config = {
        "models": world.config["models"],
        "datasets": {
            "orders": {"files": files},
            "chats": {"path": "data/chats.jsonl", "test_fraction": 0.5},
        },
        "benchmarks": {
            "domain": domain,
            "seen": {**domain, "split": "valid", "max_new_tokens": 5},
            "spare": {**domain, "dataset": "chats", "max_new_tokens": 6},
        },
    }
    return world


def make_blend_world(base: Path) -> World:
    """Make the world of other candidates: one unmerged run, two combinations, one of them unmerged.

    Every run has the same rank and template, so that every method can combine them.
    """
    world = make_local_world(base)
    run = world.config["runs"]["gentle"]
    world.config["runs"] = {
        name: {**run, "training": {**run["training"], "seed": seed}}
        for seed, name in enumerate(("north", "south", "quick"))
    }
    world.config["runs"]["quick"]["merge"] = False
    pruned = {"combine": {"north": 0.7, "south": 0.3}, "method": "dare_ties_svd", "density": 0.5}
    world.config["candidates"] = {
        "blend": pruned,
        "away": {"combine": {"north": 1, "quick": -0.5}, "method": "svd", "merge": False},
    }
    del world.config["datasets"]["chats"], world.config["benchmarks"]["exact"]
    return world


def make_pairs_world(base: Path) -> World:
    """Make the world of judged pairs: one run, two bases, a local judge and one behind a service.

    The second base is the local judge; nothing was tuned from it.
    """
    world = make_local_world(base)
    prompts = {"kind": "judged_pairs", "path": "data/prompts/questions.jsonl"}
    service = {"model": "big", "endpoint": "https://judge.example/v1", "api_key_env": "KEY"}
    world.config = {
        "models": {**world.config["models"], "referee": {"path": "data/referee"}},
        "datasets": {"orders": world.config["datasets"]["orders"]},
        "runs": {"gentle": world.config["runs"]["gentle"]},
        "benchmarks": {
            "pairs": {**prompts, "judge": {"model": "referee"}},
            "paid": {**prompts, "judge": service},
        },
    }
    for name, text in {"config.json": "{}", "model.safetensors": "r" * 64}.items():
        world.write(f"data/referee/{name}", text)
    world.write("data/referee/tokenizer.json", '{"version": "1"}')
    world.write("data/prompts/questions.jsonl", jsonl({"prompt": "Say one."}))
    return world

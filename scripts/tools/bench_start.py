"""What starting each program takes beside its work, and what any program with a model must load.

Real jobs of a tiny project: a model of 28,000 parameters, ten conversations, a few steps of
training, a few questions. Every program is run in each round, and so is the floor, a program that
loads PyTorch, Transformers and the same model and asks it once. Figures are medians of CPU seconds,
of the whole process less its work (scripts/tools/start_meter.py); ratios are to the floor of the
same round, since a busy machine slows all of a round alike.

Try it: make bench-start
"""

import argparse
import json
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.plan.invocation import plan_invocation
from scripts.lib.plan.missing import read_frozen
from scripts.tools.bench import Figure, publish
from scripts.tools.bench_dag import compiling_environment
from scripts.tools.frozen_commands import Command, commands
from scripts.tools.tiny_model import make_tiny_model

ROOT = Path(__file__).resolve().parent.parent.parent
FLOOR = "torch_transformers"

RUN: Mapping[str, Any] = {
    "model": "tiny",
    "dataset": "say",
    "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
    "training": {
        # A few large steps, so that answers differ from the base's and a judge is asked.
        "epochs": 8,
        "learning_rate": 0.1,
        "batch_size": 8,
        "max_length_tokens": 128,
        "dtype": "float32",
    },
}


@dataclass(frozen=True)
class Started:
    """What one process took.

    Attributes:
        start: CPU seconds but those of its work.
        imports: Those of imports among them.
        modules: Names of all that it loaded.
    """

    start: float
    imports: float
    modules: frozenset[str]


class _Judge(BaseHTTPRequestHandler):
    """A service that finds all answers equal."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Send a verdict."""
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "[[C]]"}
        content = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def judging_service() -> Iterator[str]:
    """Serve verdicts on this machine until the block ends; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


class World:
    """A project in a folder of its own, every job of which takes a moment.

    Args:
        folder: Where to make it.
        judge: Address of a judging service.
    """

    def __init__(self, folder: Path, judge: str) -> None:
        self.folder = folder
        self._config = _write_project(folder, judge)
        self._environment = {
            **os.environ,
            "TUNESMITH_CACHE": "",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        self.jobs: dict[str, Command] = {}

    def make(self) -> dict[str, list[Started]]:
        """Make everything once, and return what jobs of each program took.

        A program that has made something of a benchmark's kind makes the rest of it, for other
        candidates, in this process: what it starts with is known.
        """
        found: dict[tuple[str, str], Started] = {}
        self._make(self._config, STAGES, found)
        # Two adapters to combine; nothing of what follows from them is made.
        other = {**RUN, "lora": {**RUN["lora"], "r": 4}}
        runs = {**self._config["runs"], "other": other, "whole": {**RUN, "lora": None}}
        blend = {"combine": {"low": 0.5, "other": 0.5}}
        # And what exists already: the model as a checkpoint, an adapter as one that was brought.
        (trained,) = self.jobs["train_adapter"].ids
        same = {"model": "model", "base": "tiny"}
        theirs = {"adapter": f"results/{trained}", "base": "tiny"}
        candidates = {"blend": blend, "same": same, "theirs": theirs}
        config = {**self._config, "runs": runs, "candidates": candidates}
        self._make(config, ("given_adapters", "adapters", "trained", "combined", "changes"), found)
        # A run without the rows in which questions were found; nothing more is made of it.
        clean = {**RUN, "on_contamination": "drop"}
        left_out = {**self._config, "runs": {**self._config["runs"], "clean": clean}}
        self._make(left_out, ("decontaminated",), found)
        rules = dict.fromkeys(rule for rule, _ in found)
        return {name: [s for (rule, _), s in found.items() if rule == name] for name in rules}

    def _make(
        self,
        config: Mapping[str, Any],
        stages: Iterable[str],
        found: dict[tuple[str, str], Started],
    ) -> None:
        """Make what is missing of *stages*; note what the first job for a rule and kind took."""
        with chdir(self.folder):
            plan = plan_invocation(config, ROOT).file
            entries = read_frozen(plan)["artifacts"]
            for stage in stages:
                rule = STAGES[stage].rule
                for job in commands(plan, stage):
                    kind = entries[job.ids[0]]["spec"].get("kind", "")
                    # Letters are what most jobs ask and count.
                    if rule not in self.jobs or kind == "mmlu":
                        self.jobs[rule] = job
                    if (rule, kind) in found:
                        sys.argv = [rule, *job.argv]
                        # runpy warns of a program that something here has imported.
                        sys.modules.pop(f"scripts.{rule}", None)
                        runpy.run_module(f"scripts.{rule}", run_name="__main__")
                    else:
                        found[rule, kind] = self._run(rule, job)

    def again(self, rule: str) -> Started:
        """Make again what a program's job made."""
        with chdir(self.folder):
            for id in self.jobs[rule].ids:
                shutil.rmtree(Path("results", id))
                Path("results", f"{id}.json").unlink()
        return self._run(rule, self.jobs[rule])

    def _run(self, rule: str, job: Command) -> Started:
        return self._measured(f"scripts.{rule}", *job.argv)

    def floor(self) -> Started:
        """Return what loading the libraries and the model takes, and nothing else."""
        return self._measured("scripts.tools.start_floor", "model")

    def _measured(self, program: str, *argv: str) -> Started:
        out = self.folder / "started.json"
        done = subprocess.run(
            [sys.executable, "-m", "scripts.tools.start_meter", str(out), program, *argv],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{program} failed in {self.folder}:\n{done.stdout[-4000:]}")
        found = json.loads(out.read_text())
        return Started(found["start"], found["imports"], frozenset(found["modules"]))


def _write_project(folder: Path, judge: str) -> dict[str, Any]:
    """Write model and rows, and return the config over them."""
    make_tiny_model(folder / "model")
    turns = [
        [
            {"role": "user", "content": f"Say red {number} times."},
            {"role": "assistant", "content": " ".join(["red"] * number)},
        ]
        for number in range(1, 11)
    ]
    _write_rows(folder / "say.jsonl", ({"messages": turn} for turn in turns))
    _write_rows(folder / "prompts.jsonl", [{"prompt": "Say red 3 times."}])
    questions = [
        {"question": f"{n}?", "subject": "astronomy", "choices": list("wxyz"), "answer": n % 4}
        for n in range(8)
    ]
    for split in ("dev", "test"):
        _write_rows(folder / "mmlu" / split / "astronomy.jsonl", questions)
    pairs = {"kind": "judged_pairs", "path": "prompts.jsonl", "max_new_tokens": 4}
    service = {"model": "big", "endpoint": judge}
    return {
        "models": {"tiny": {"path": "model"}},
        "datasets": {"say": {"path": "say.jsonl", "valid_fraction": 0.2}},
        "runs": {"low": dict(RUN)},
        "benchmarks": {
            "pairs": {**pairs, "judge": {"model": "tiny"}},
            "paid": {**pairs, "judge": service},
            "mmlu": {"kind": "mmlu", "path": "mmlu", "shots": 1},
        },
        # One that nothing breaks.
        "report": {"budget": {"mmlu": {"average": -100.0}}, "on_undecided": "pass"},
    }


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def measure(world: World, rounds: int) -> list[Figure]:
    """Return the figures of *rounds* rounds, in which every program and the floor take turns."""
    world.make()
    floors: list[float] = []
    found: dict[str, list[Started]] = {rule: [] for rule in world.jobs}
    for _ in range(rounds):
        floors.append(world.floor().start)
        for rule, taken in found.items():
            print(rule, file=sys.stderr)
            taken.append(world.again(rule))
    figures = [Figure(f"seconds_{FLOOR}", statistics.median(floors), "s")]
    for rule, taken in found.items():
        starts = [one.start for one in taken]
        pairs = list(zip(starts, floors, strict=True))
        figures += [
            Figure(f"seconds_{rule}", statistics.median(starts), "s"),
            Figure(f"ratio_{rule}", statistics.median(s / f for s, f in pairs), "of the floor"),
            Figure(f"seconds_{rule}_above_floor", statistics.median(s - f for s, f in pairs), "s"),
        ]
    return figures


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, judging_service() as judge:
        folder = Path(name)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ.update(compiling_environment(folder))
        figures = measure(World(folder / "project", judge), arguments.rounds)
    publish("start", figures)


if __name__ == "__main__":
    main()

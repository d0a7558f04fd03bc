"""Workflows on the test cluster: start them, wait for what a fault needs, judge what came of it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.lib.files import sha256_of
from tests.slurm.cluster import Cluster
from tests.workspace import ROOT

Snapshot = Mapping[str, tuple[int, int]]
"""Manifest -> inode and time of change: another pair means that it was written again."""


@dataclass(frozen=True)
class Row:
    """One line of the survival table.

    Attributes:
        fault: What was done to the workflow.
        lost: Artifacts that were there before the fault and are not at the end.
        doubled: Artifacts made a second time, or by two Slurm jobs at once.
        partial: Artifacts at the end whose files are not those of their manifest.
        outcome: What a user sees, in words.
    """

    fault: str
    lost: int
    doubled: int
    partial: int
    outcome: str

    def line(self) -> str:
        """Return the row as a line of the table."""
        return f"{self.fault:34} {self.lost:4} {self.doubled:7} {self.partial:7}  {self.outcome}"


NO_ARTIFACTS = ("plans", "batches")
"""Folders of the results whose files are no manifests."""

HEADER = f"{'fault':34} {'lost':>4} {'doubled':>7} {'partial':>7}  outcome"


class Workflow:
    """`snakemake --profile slurm` in a workspace, as a process that tests can watch and end."""

    def __init__(
        self, cluster: Cluster, folder: Path, targets: Sequence[str] = (), *options: str
    ) -> None:
        """Remember what to run; *targets* are files, none means the report."""
        self.cluster = cluster
        self.folder = folder
        self.targets = targets
        self._command = ["snakemake", "--profile", "slurm", *options, "--", *targets]
        if not targets:
            self._command.pop()
        self._env = {
            **cluster.env,
            "PATH": f"{Path(sys.executable).parent}:{cluster.env['PATH']}",
            "TUNESMITH_CACHE": "",
        }
        if not (folder / "Snakefile").exists():
            self._command[1:1] = ["-s", str(ROOT / "Snakefile")]
        self.output = ""
        self.twice: set[str] = set()
        self._watching = threading.Event()

    def start(self, **env: str) -> "Workflow":
        """Start Snakemake and return at once; what it prints goes to a file and to `output`."""
        self._log = self.folder / f"snakemake-{time.monotonic_ns()}.out"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**self._env, **env},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._watching.set()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def finish(self, seconds: float = 600) -> int:
        """Wait for the end, keep what was printed, and return the exit status."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill(signal.SIGINT)
            self._process.wait(timeout=60)
            raise
        finally:
            self._watching.clear()
            self.output = self._log.read_text(errors="replace")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to Snakemake itself."""
        os.kill(self._process.pid, how)

    def job(self, rule: str, state: str = "RUNNING", seconds: float = 180) -> str:
        """Wait for a Slurm job of *rule* in *state* and return its id."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [id for id, now, comment in self._jobs() if now == state and rule in comment]
            return bool(found) or self._process.poll() is not None

        self.cluster.wait(f"a job of {rule} that is {state}", look, seconds=seconds)
        assert found, f"the workflow ended first: {self._log.read_text()}"
        return found[0]

    def until(self, what: str, true: Callable[[], object], seconds: float = 120) -> None:
        """Wait until *true* holds."""
        self.cluster.wait(what, true, seconds=seconds)

    def training(self, seconds: float = 180) -> str:
        """Wait so long for a training job, and until it has made steps; return its Slurm id."""
        id = self.job("train_adapter", seconds=seconds)
        logs = self.folder / "logs" / "train_adapter"

        def steps() -> bool:
            return any("step " in log.read_text() for log in logs.glob("*.log"))

        self.until("the first training step", steps)
        return id

    def resumed(self) -> bool:
        """Tell whether the training went on from a checkpoint."""
        (log,) = (self.folder / "logs" / "train_adapter").glob("*.log")
        return "going on from" in log.read_text()

    def snapshot(self) -> Snapshot:
        """Return the manifests that are there."""
        return {
            str(path.relative_to(self.folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in (self.folder / "results").glob("*/*-*.json")
            if path.parent.name not in NO_ARTIFACTS and not path.parent.name.startswith(".")
        }

    def row(self, fault: str, before: Snapshot, outcome: str) -> Row:
        """Judge what is there now against what was there before the fault."""
        after = self.snapshot()
        again = [path for path, stat in before.items() if path in after and after[path] != stat]
        return Row(
            fault=fault,
            lost=len(before.keys() - after.keys()),
            doubled=len(again) + len(self.twice),
            partial=sum(not is_whole(self.folder / path) for path in after),
            outcome=outcome,
        )

    def _jobs(self) -> list[tuple[str, str, str]]:
        """Return id, state and comment (the rule and its artifact) of this folder's Slurm jobs."""
        out = self.cluster.run("squeue", "-h", "-o", "%i|%T|%k|%Z", check=False)
        rows = [line.split("|") for line in out.splitlines()]
        return [(r[0], r[1], r[2]) for r in rows if len(r) == 4 and r[3] == str(self.folder)]

    def _watch(self) -> None:
        """Note artifacts that two Slurm jobs make at once."""
        while self._watching.is_set():
            running = defaultdict(set)
            for id, state, comment in self._jobs():
                if state == "RUNNING":
                    running[comment].add(id)
            self.twice |= {comment for comment, ids in running.items() if len(ids) > 1}
            time.sleep(1)


def check(row: Row) -> None:
    """Fail where something was lost, doubled or left partial."""
    assert (row.lost, row.doubled, row.partial) == (0, 0, 0), row


def is_whole(manifest: Path) -> bool:
    """Tell whether an artifact's files are those that its manifest lists, byte for byte."""
    folder = manifest.with_suffix("")
    listed = json.loads(manifest.read_text())["files"]
    return all(
        (folder / entry["path"]).is_file() and sha256_of(folder / entry["path"]) == entry["sha256"]
        for entry in listed
    )


def planned(folder: Path) -> dict[str, dict[str, object]]:
    """Return the artifacts of the newest plan of a workspace."""
    plans = sorted((folder / "results" / "plans").glob("*.json"), key=lambda p: p.stat().st_mtime)
    return json.loads(plans[-1].read_text())["artifacts"]


def as_property(row: Row) -> dict[str, object]:
    """Return a row in a form that test reports can carry from one process to another."""
    return asdict(row)

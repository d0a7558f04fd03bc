"""How long planning takes, beside what Snakemake itself takes for the same jobs.

Plans 100, 1,000 and 3,000 runs from nothing, and where everything is there; and 20 candidates that
are asked all of MMLU's subjects in four protocols. The floor is a plain
Snakefile of as many rules and jobs with the same files and edges, without input functions and
params. All take turns in each round; the figures are medians over the rounds. Seconds are those on
the clock; ratio and exponent come from processor seconds.

Try it: make bench-dag
"""

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.lib import files
from scripts.tools.bench import Figure, publish
from scripts.tools.bench_dag_worlds import (
    ROOT,
    jobs_of,
    make_everything,
    make_subjects_world,
    make_world,
    write_floor,
)

SIZES = (100, 1000, 3000)
"""Numbers of runs."""


@dataclass(frozen=True)
class Taken:
    """What one start of Snakemake took, and what it printed.

    Attributes:
        wall: Seconds on the clock.
        cpu: Seconds of a processor's work, which other work on the machine disturbs less.
        text: Both streams.
    """

    wall: float
    cpu: float
    text: str


@dataclass
class Times:
    """What one number of runs took, in every round.

    Attributes:
        jobs: Jobs of the fresh plan.
        fresh: Planning where nothing is there.
        floor: The plain Snakefile with as many jobs.
        noop: Planning where everything is there.
    """

    jobs: int
    fresh: list[Taken] = field(default_factory=list)
    floor: list[Taken] = field(default_factory=list)
    noop: list[Taken] = field(default_factory=list)


def timed(folder: Path, snakefile: Path, *arguments: str) -> Taken:
    """Run Snakemake in *folder* with the local profile."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "-s", str(snakefile), "--directory", str(folder)),
            *("--profile", str(ROOT / "profiles/local"), *arguments),
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=compiling_environment(folder.parent),
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode:
        sys.exit(f"Snakemake failed in {folder}:\n{result.stdout[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(wall, cpu, result.stdout)


def compiling_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which Python compiles its modules once, into *folder*.

    Some containers forbid it to keep what it compiled, and then every start takes seconds longer.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "TUNESMITH_CACHE": ""}


def measure(folder: Path, sizes: Sequence[int], rounds: int) -> dict[int, Times]:
    """Make the worlds below *folder*, and let all take turns in each of *rounds*."""
    times: dict[int, Times] = {}
    for size in sizes:
        graph = make_world(folder / f"fresh-{size}", size)
        make_world(folder / f"full-{size}", size)
        make_everything(graph, folder / f"full-{size}")
        write_floor(folder / f"floor-{size}", size)
        times[size] = Times(jobs=jobs_of(graph))
    first = folder / f"full-{sizes[0]}"
    noop_run(first, ROOT / "Snakefile")  # compiles, and makes the views
    for _ in range(rounds):
        for size, found in times.items():
            floor = folder / f"floor-{size}"
            print(f"{size} runs, {found.jobs} jobs", file=sys.stderr)
            found.fresh.append(dry_run(folder / f"fresh-{size}", ROOT / "Snakefile", found.jobs))
            found.floor.append(dry_run(floor, floor / "Snakefile", found.jobs))
            found.noop.append(noop_run(folder / f"full-{size}", ROOT / "Snakefile"))
    return times


def dry_run(folder: Path, snakefile: Path, jobs: int) -> Taken:
    """Plan, which must come to *jobs* jobs."""
    taken = timed(folder, snakefile, "-n", "--quiet")
    lines = taken.text.splitlines()
    totals = [int(line.split()[-1]) for line in lines if line.startswith(" total")]
    if set(totals) != {jobs}:
        sys.exit(f"{totals} jobs and not {jobs} in {folder}:\n{taken.text[-4000:]}")
    return taken


def noop_run(folder: Path, snakefile: Path) -> Taken:
    """Plan where there must be nothing to do; dry, lest a slip set thousands of jobs going."""
    taken = timed(folder, snakefile, "-n")
    if "Nothing to be done" not in taken.text:
        sys.exit(f"there was something to do in {folder}:\n{taken.text[-4000:]}")
    return taken


def wall(taken: Sequence[Taken]) -> float:
    """Return the median of the seconds on the clock."""
    return statistics.median(one.wall for one in taken)


def cpu(taken: Sequence[Taken]) -> float:
    """Return the median of the processor seconds."""
    return statistics.median(one.cpu for one in taken)


def ratio(found: Times) -> float:
    """Return the median over the rounds of planning by floor, in processor seconds."""
    pairs = zip(found.fresh, found.floor, strict=True)
    return statistics.median(ours.cpu / bare.cpu for ours, bare in pairs)


def exponent(jobs: Sequence[int], taken: Sequence[Sequence[Taken]], start: float) -> float:
    """Return the power of the number of jobs with which planning grows, between two numbers.

    Args:
        jobs: Two numbers of jobs.
        taken: What each took.
        start: Processor seconds that Snakemake takes to start; they would hide the growth.
    """
    few, many = (cpu(each) - start for each in taken)
    return math.log(many / few) / math.log(jobs[1] / jobs[0])


def figures_of(times: dict[int, Times], start: Sequence[Taken]) -> list[Figure]:
    """Return the figures.

    Args:
        times: Number of runs -> what it took.
        start: What a Snakefile of one rule took: no plan goes below it.
    """
    *_, fewer, most = (times[size] for size in sorted(times))
    jobs, bare = (fewer.jobs, most.jobs), cpu(start)
    figures = [
        Figure("seconds_per_1000_jobs", 1000 * wall(most.fresh) / most.jobs, "s"),
        Figure("ratio_to_floor", ratio(most), "times"),
        Figure("growth_exponent", exponent(jobs, (fewer.fresh, most.fresh), bare), "power"),
        Figure("floor_exponent", exponent(jobs, (fewer.floor, most.floor), bare), "power"),
        Figure("start_seconds", wall(start), "s"),
        Figure("start_processor_seconds", bare, "s"),
    ]
    for size, found in sorted(times.items()):
        figures += [
            Figure(f"jobs_{size}_runs", found.jobs, "jobs"),
            Figure(f"seconds_{size}_runs", wall(found.fresh), "s"),
            Figure(f"floor_seconds_{size}_runs", wall(found.floor), "s"),
            Figure(f"ratio_{size}_runs", ratio(found), "times"),
            Figure(f"noop_seconds_{size}_runs", wall(found.noop), "s"),
            Figure(f"noop_processor_seconds_{size}_runs", cpu(found.noop), "s"),
        ]
    return figures


def measure_subjects(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of 57 subjects x 20 candidates x 4 protocols, empty and full."""
    graph = make_subjects_world(folder / "fresh-subjects")
    full = folder / "full-subjects"
    make_everything(make_subjects_world(full), full)
    fresh, noop = [], []
    for _ in range(rounds):
        fresh.append(dry_run(folder / "fresh-subjects", ROOT / "Snakefile", jobs_of(graph)))
        noop.append(noop_run(full, ROOT / "Snakefile"))
    scores = [one for one in graph.artifacts.values() if one.stage == "scores"]
    made = [path for path in (full / "results/scores").rglob("*") if path.is_file()]
    return [
        Figure("subjects_scores", len(scores), "artifacts"),
        Figure("subjects_jobs", jobs_of(graph), "jobs"),
        Figure("subjects_files", len(made), "files in results/scores"),
        Figure("subjects_seconds", wall(fresh), "s"),
        Figure("subjects_noop_seconds", wall(noop), "s"),
    ]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, nargs="+", default=SIZES, help="multiples of 100")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = folder / "bare" / "Snakefile"
        files.write_text(bare, "rule all:\n    input: []\n")
        times = measure(folder, arguments.runs, arguments.rounds)
        subjects = measure_subjects(folder, arguments.rounds)
        start = [timed(bare.parent, bare, "-n", "--quiet") for _ in range(arguments.rounds)]
    publish("dag", [*figures_of(times, start), *subjects])


if __name__ == "__main__":
    main()

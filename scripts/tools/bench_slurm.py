"""How fast short jobs get to Slurm: one by one, in groups, as job arrays of the executor.

Every job is held, so that none runs and nothing but submitting is measured; in the end all are
cancelled. `*_jobs_a_minute` are jobs of the workflow, whatever they became: a group of ten that is
submitted counts as ten. `*_ms` is what Snakemake and `sbatch` used of the processor for one. Arrays
are submitted twice: with all jobs allowed at once, and with no more than the profile allows.

Try it, on a login node or beside `python -m tests.slurm.cluster FOLDER`: make bench-slurm
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.tools.bench import Figure, publish

JOBS = 500
GROUP_JOBS = 10
"""Jobs that a group holds."""

PROFILE_JOBS = 100
"""`jobs` of profiles/slurm/config.yaml: how many may be at Slurm at once."""

SNAKEFILE = """
rule all:
    input: expand("made/{{n}}", n=range({jobs}))
    localrule: True

rule short:
    output: "made/{{n}}"
    resources: runtime=5, mem_mb=100, slurm_extra="'--hold'"
    shell: "touch {{output}}"
"""


class Way(NamedTuple):
    """How jobs are submitted.

    Attributes:
        options: For Snakemake.
        at_once: How many jobs may be at Slurm at once; None for all.
        size: Jobs of the workflow in one of Slurm's.
    """

    options: tuple[str, ...] = ()
    at_once: int | None = None
    size: int = 1


_IN_GROUPS = ("--groups", "short=several", "--group-components", f"several={GROUP_JOBS}")
_IN_ARRAYS = ("--slurm-array-jobs", "short")
WAYS: Mapping[str, Way] = {
    "single": Way(),
    "groups": Way(_IN_GROUPS, size=GROUP_JOBS),
    "arrays": Way(_IN_ARRAYS),
    "arrays_of_profile": Way(_IN_ARRAYS, at_once=PROFILE_JOBS),
}


class Submitted(NamedTuple):
    """What a way of submitting took.

    Attributes:
        jobs: Jobs of the workflow that got to Slurm.
        seconds: From Snakemake's start to the last of them.
        processor_seconds: That Snakemake and what it started used until then.
    """

    jobs: int
    seconds: float
    processor_seconds: float


def submit(name: str, way: Way, jobs: int, limit: float) -> Submitted:
    """Submit short jobs one way, then cancel them.

    Args:
        name: Of the way.
        way: How.
        jobs: How many.
        limit: Seconds after which those that did not get to Slurm are waited for no longer.
    """
    prefix = f"bench-{name}-{os.getpid()}"
    wanted = -(-min(jobs, way.at_once or jobs) // way.size)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        Path(folder, "Snakefile").write_text(SNAKEFILE.format(jobs=jobs), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--executor", "slurm"]
        command += ["--jobs", str(way.at_once or jobs), "--slurm-jobname-prefix", prefix]
        with Path(folder, "log").open("wb") as log:
            began = time.monotonic()
            process = subprocess.Popen(
                [*command, *way.options], cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
            try:
                there, seconds = 0, 0.0
                while process.poll() is None and there < wanted and seconds < limit:
                    time.sleep(1)
                    there, seconds = len(_at_slurm(prefix)), time.monotonic() - began
                used = _used_by(process.pid)
            finally:
                # It has nothing to lose, and would wait for jobs that are held.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if left := {id_.partition("_")[0] for id_ in _at_slurm(prefix)}:
                    subprocess.run(["scancel", *left], check=False)
        if not there:
            print(Path(folder, "log").read_text(encoding="utf-8")[-2_000:], file=sys.stderr)
    return Submitted(there * way.size, seconds, used)


def _at_slurm(prefix: str) -> list[str]:
    """Return the ids of the jobs whose names begin so, one for each task of an array."""
    asked = ["squeue", "--noheader", "--array", "--format", "%i %j"]
    said = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout
    jobs = [line.split(maxsplit=1) for line in said.splitlines()]
    return [id_ for id_, name in jobs if name.startswith(prefix)]


def _used_by(pid: int) -> float:
    """Return processor seconds of a process and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def figures_of(name: str, done: Submitted) -> list[Figure]:
    """Return what is published of a way."""
    return [
        Figure(f"{name}_jobs", done.jobs, "jobs"),
        Figure(f"{name}_jobs_a_minute", 60 * done.jobs / done.seconds, "1/min"),
        Figure(f"{name}_ms", 1000 * done.processor_seconds / max(done.jobs, 1), "ms"),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--limit", type=float, default=300, help="seconds for one way")
    options = parser.parse_args(argv)
    figures = []
    for name, way in WAYS.items():
        own = figures_of(name, submit(name, way, options.jobs, options.limit))
        print(*(f"{one.name} {one.value:.1f}" for one in own), flush=True)
        figures += own
    publish("slurm", figures)


if __name__ == "__main__":
    main()

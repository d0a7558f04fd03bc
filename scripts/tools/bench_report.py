"""How long a report of many fine-tunes takes, in what memory, and how large its pages are.

200 candidates on MMLU's 57 subjects with their 14,042 questions: artifacts are made up as the
stages write them (`report_world`), and are made once in results/bench/report; then the library's
functions behind `compare_runs` and `write_report` run, the second with as many processes as its
rule has threads. `seconds` and `processor_seconds` are those of both, `peak_gib` is the larger of
their peaks, for which the peaks of a stage's processes are added up. Of the pages `first_page_mb`
is index.html and `largest_page_mb` the largest beside it, in millions of bytes.

Try it: make bench-report CANDIDATES=20 SUBJECTS=6
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.report.drill_down import RowFolders
from scripts.lib.report.page import ReportSpec, write_report
from scripts.tools.bench import FOLDER, Figure, publish
from scripts.tools.made_texts import MMLU
from scripts.tools.peers import ROOT
from scripts.tools.report_world import QUESTIONS_ID, make_world, read_world

STAGES = ("compare", "report")
PROCESSES = 2
"""As `threads` of `rule write_report`."""


def world_folder(candidates: int, subjects: Sequence[str]) -> Path:
    """Return the folder of the artifacts, which are made if they are not there yet."""
    folder = (FOLDER / "report" / f"{candidates}-{len(subjects)}").resolve()
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make_world(unfinished, candidates, subjects)
        unfinished.rename(folder)
    return folder


def run(stage: str, world: Path, out: Path) -> dict[str, float]:
    """Run a stage in a process of its own; return what it says."""
    words = ["--stage", stage, "--world", str(world), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.tools.bench_report", *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(f"{stage} ended with {done.returncode}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{stage}: {told['seconds']:.1f} s ({told['processor_seconds']:.1f} s of processor),"
        f" {told['peak_gib']:.2f} GiB",
        flush=True,
    )
    return told


def work(stage: str, folder: Path, out: Path) -> None:
    """Do the work of a stage and print what it took."""
    world = read_world(folder)
    compared, reported = world.specs()
    places = {
        id_: folder / id_ for id_ in (*world.manifests, QUESTIONS_ID) if (folder / id_).is_dir()
    }
    comparison = out / "comparison"
    began, (clock, _) = time.monotonic(), _used(resource.RUSAGE_SELF)
    if stage == "compare":
        comparison.mkdir(parents=True)
        compare_runs(CompareSpec.from_json(compared), places, world.manifests, comparison)  # type: ignore[arg-type]
    else:
        (out / "report").mkdir()
        write_report(
            ReportSpec.from_json(reported),
            comparison,
            world.manifests,  # type: ignore[arg-type]
            out / "report",
            scores={},
            examples={},
            rows=RowFolders(scores=places, categories=places, questions=places),
            processes=PROCESSES,
        )
    (seconds, peak), (of_others, largest) = (
        _used(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    told = {
        "seconds": time.monotonic() - began,
        "processor_seconds": seconds - clock + of_others,
        # Of the processes that have ended only the largest peak is known.
        "peak_gib": peak + PROCESSES * largest,
    }
    print(json.dumps(told))


def _used(who: int) -> tuple[float, float]:
    """Return processor seconds, and the peak in GiB."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def figures_of(told: Mapping[str, Mapping[str, float]], report: Path) -> list[Figure]:
    """Return what is published.

    Args:
        told: Stage -> what it said.
        report: The report's folder.
    """
    sizes = {path: path.stat().st_size / 1e6 for path in report.rglob("*.html")}
    first = sizes.pop(report / "index.html")
    whole = sum(path.stat().st_size for path in report.rglob("*") if path.is_file())
    return [
        Figure("seconds", sum(one["seconds"] for one in told.values()), "s"),
        Figure("processor_seconds", sum(one["processor_seconds"] for one in told.values()), "s"),
        Figure("peak_gib", max(one["peak_gib"] for one in told.values()), "GiB"),
        Figure("first_page_mb", first, "MB"),
        Figure("largest_page_mb", max(sizes.values(), default=0.0), "MB"),
        Figure("report_gb", whole / 1e9, "GB"),
        *(Figure(f"{stage}_seconds", one["seconds"], "s") for stage, one in told.items()),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=200, help="with the base")
    parser.add_argument("--subjects", type=int, default=len(MMLU), help="of MMLU")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.stage:
        work(options.stage, options.world, options.out)
        return
    subjects = list(MMLU)[: options.subjects]
    world = world_folder(options.candidates, subjects)
    with tempfile.TemporaryDirectory() as scratch:
        told = {stage: run(stage, world, Path(scratch)) for stage in STAGES}
        figures = figures_of(told, Path(scratch) / "report")
    file = publish("report", figures)
    found = json.loads(file.read_text())
    figures_found = {figure["name"]: figure["value"] for figure in found.pop("figures")}
    size = {"candidates": options.candidates, "subjects": len(subjects)}
    print(json.dumps({**found, **size, **figures_found}))


if __name__ == "__main__":
    main()

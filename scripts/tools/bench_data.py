"""How fast rows become tokens: our two stages, the bare fast tokenizer, and `datasets.map`.

A million made-up conversations (1 GB of JSON lines, of alpaca's and smoltalk's lengths, of one turn
and of several, some of them copies and some of no use) are formatted and rendered with one process
and with two, each stage as a program of its own; the bytes that come out must be equal. Beside them
the bare tokenizer encodes the same rendered texts with as many threads, and `datasets.map`, with as
many processes, calls one Python function for each row of a sample: once one that does the same work
by Transformers' functions (turns judged, equal rows told, each trained turn as the model is asked
for it, tokens decoded again), once the shortest way to tokens and loss mask (a template with marks,
one rendering, one call; no check). The maps run before and behind, so that a slow minute slows all;
of these the median counts.

Figures are those with two processes, and end in `_1_process` with one. `speedup_vs_map` is over the
map that does the same work, `speedup_vs_bare_map` over the other; `_as_it_comes` is that with two
processes over the map with one, its default. The rows are made once and lie in results/bench/data.
Memory is that of all processes of a stage together, shared pages counted once.

Try it: make bench-data ROWS=100000
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from scripts.tools.bench import FOLDER, Figure, publish
from scripts.tools.made_texts import write_mixture
from scripts.tools.peers import ROOT, model_folder

STAGES = ("format", "render")
MAPS = ("map", "bare_map")
PROCESSES = (1, 2)
SECONDS_BETWEEN_LOOKS = 0.2

Told = dict[str, Any]
Peer = tuple[str, int]
"""One of MAPS, and how many processes it has."""


def rows_file(count: int) -> Path:
    """Return the file of *count* made-up rows, which is written if it is not there yet."""
    file = FOLDER / "data" / f"conversations-{count}.jsonl"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        write_mixture(unfinished, count)
        unfinished.rename(file)
    return file.resolve()


def new_work(folder: Path, rows: Path, count: int | None = None) -> Path:
    """Return a new folder whose raw rows are the first *count* of *rows*; None for all of them."""
    for name in ("raw", "chat", "shards"):
        (folder / name).mkdir(parents=True)
    file = folder / "raw" / "train.jsonl"
    if count is None:
        file.symlink_to(rows)
    else:
        with rows.open("rb") as lines:
            file.write_bytes(b"".join(islice(lines, count)))
    return folder


def run(name: str, work: Path, model: Path, processes: int) -> Told:
    """Let one contestant work in a process of its own; return what it says, and `peak_gib`."""
    words = [name, str(work), str(model), str(processes)]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.tools.data_contestants", *words],
            stdout=out,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if process.returncode:
            raise SystemExit(f"{name} with {processes} processes ended with {process.returncode}")
        out.seek(0)
        told: Told = json.loads(out.read().splitlines()[-1])
    print(
        f"{name}, {processes}: {told['rows']:,} rows, {told['seconds']:.1f} s"
        f" ({told['processor_seconds']:.1f} s of processor), {peak / 2**30:.2f} GiB",
        flush=True,
    )
    return {**told, "peak_gib": peak / 2**30}


def _memory(pid: int) -> int:
    """Return the bytes of a process and those below it, what they share counted once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in family:
        try:
            memory = one.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
    return total


def made_of(work: Path) -> str:
    """Return one digest of the bytes that the stages wrote."""
    digest = hashlib.sha256()
    for file in sorted(one for name in ("chat", "shards") for one in (work / name).rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(work)).encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def through(rows: Path, model: Path, processes: int, folder: Path) -> Told:
    """Format, render, and encode with the bare tokenizer; return what each said, and the bytes."""
    work = new_work(folder, rows)
    told: Told = {name: run(name, work, model, processes) for name in (*STAGES, "tokenizer")}
    told["sha256"] = made_of(work)
    shutil.rmtree(work)
    return told


def figures_of(whole: Mapping[int, Told], maps: Mapping[Peer, Sequence[Told]]) -> Iterator[Figure]:
    """Yield what is published; the figures without a number of processes are those of the most.

    Args:
        whole: Processes -> what the contestants said of all rows.
        maps: Map and processes -> what it said of the sample, round by round.
    """
    most = max(whole)
    for processes, told in whole.items():
        of = "" if processes == most else f"_{processes}_process"
        rows = told["format"]["rows"]

        def ours(clock: str, told: Told = told) -> float:
            return float(sum(told[stage][clock] for stage in STAGES))

        def speedup(name: str, count: int, clock: str, rows: int = rows) -> float:
            per_row = (one[clock] / one["rows"] for one in maps[name, count])
            return float(rows * statistics.median(per_row)) / ours(clock)

        yield Figure(f"rows_per_second{of}", rows / ours("seconds"), "1/s")
        for name in MAPS:
            yield Figure(f"speedup_vs_{name}{of}", speedup(name, processes, "seconds"), "x")
            spared = speedup(name, processes, "processor_seconds")
            yield Figure(f"speedup_vs_{name}_processor_time{of}", spared, "x")
            if processes == most:
                as_it_comes = speedup(name, 1, "seconds")
                yield Figure(f"speedup_vs_{name}_as_it_comes", as_it_comes, "x")
        for name, clock in (("", "seconds"), ("_processor_time", "processor_seconds")):
            ratio = told["render"][clock] / told["tokenizer"][clock]
            yield Figure(f"render_vs_tokenizer{name}{of}", ratio, "x")
        peak = max(told[stage]["peak_gib"] for stage in STAGES)
        yield Figure(f"peak_gib{of}", peak, "GiB")
        for name in (*STAGES, "tokenizer"):
            yield Figure(f"{name}_seconds{of}", told[name]["seconds"], "s")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=10_000, help="rows for the map")
    parser.add_argument("--rounds", type=int, default=2, help="of the map, the last one at the end")
    parser.add_argument("--model", type=Path, help="model folder; the environment's by default")
    options = parser.parse_args(argv)
    rows = rows_file(options.rows)
    print(f"{options.rows:,} conversations, {rows.stat().st_size / 1e9:.2f} GB", flush=True)
    whole: dict[int, Told] = {}
    maps: dict[Peer, list[Told]] = {(m, count): [] for m in MAPS for count in PROCESSES}
    with model_folder(options.model) as model, tempfile.TemporaryDirectory() as scratch:

        def ask_the_maps(number: int) -> None:
            for (name, count), told in maps.items():
                place = Path(scratch) / f"{name}-{number}-{count}"
                told.append(run(name, new_work(place, rows, options.sample), model, count))

        for round_ in range(options.rounds - 1):
            ask_the_maps(round_)
        for processes in PROCESSES:
            whole[processes] = through(rows, model, processes, Path(scratch) / f"all-{processes}")
        ask_the_maps(options.rounds)
    if len({told["sha256"] for told in whole.values()}) > 1:
        raise SystemExit("the bytes depend on the number of processes: that is a mistake of ours")
    file = publish("data", list(figures_of(whole, maps)))
    found = json.loads(file.read_text())
    figures = {figure["name"]: figure["value"] for figure in found.pop("figures")}
    print(json.dumps({**found, "rows": options.rows, **figures}))


if __name__ == "__main__":
    main()

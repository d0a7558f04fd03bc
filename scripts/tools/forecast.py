"""What the runs of a config that are still to be trained will take: tokens, steps, memory, hours.

    make forecast CONFIG=mine.yaml GPU=a100 GPUS=4

Plans, and reads the shards that exist; starts nothing. The GPU is the one that the site file of the
Slurm profile names (`gpu_model`, `constraint`), unless it is given. What is not known is said to be
unknown: all of a run whose shards are not rendered yet, hours where no job of the same stage,
device and model is recorded (docs/training.md).
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts.lib.errors import PipelineError
from scripts.lib.jobs import gpu_fit, slurm
from scripts.lib.jobs.forecast import Forecast, forecast, trainings
from scripts.lib.plan.invocation import graph_of, merge_configs, open_store, read_configs
from scripts.lib.plan.missing import make_plan

ROOT = Path(__file__).resolve().parent.parent.parent
UNKNOWN = "unknown"
TITLES = ("tokens a pass", "trained on", "sequences", "steps", "memory of a process", "hours")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table; exit with 1 when a run cannot fit the GPU that is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="as Snakemake's")
    parser.add_argument("--gpu", metavar="NAME", help="such as a100; none: the site's")
    parser.add_argument("--gpus", type=int, default=1, help="as train_adapter:gpu")
    parser.add_argument("--micro-batch", type=int, default=0, help="as train_adapter:micro_batch")
    options = parser.parse_args(argv)
    given = {"gpu": options.gpus, "micro_batch": options.micro_batch}
    try:
        named = {"gpu_model": options.gpu} if options.gpu else site_gpu(Path.cwd())
        config = read_configs(merge_configs(options.configfile), options.configfile, ROOT)
        store = open_store()
        plan = make_plan(graph_of(config, ROOT), store)
    except PipelineError as error:
        sys.exit(f"forecast: {error}")
    resources = {**given, **named}
    found = [forecast(plan, store, id, names, resources) for id, names in trainings(plan).items()]
    if not found:
        print("Nothing is to be trained: every run is there.")
        return
    show(found)
    wanted = dict.fromkeys(trainings(plan), resources)
    for line in gpu_fit.tight(plan, wanted):
        print(f"note: {line}")
    if too_large := gpu_fit.too_large(plan, wanted):
        sys.exit("\n".join(too_large))


def site_gpu(folder: Path) -> dict[str, str]:
    """Return what the Slurm profile's site file says of GPUs, when it is started in *folder*."""
    site = slurm.read_site(slurm.find_site(os.environ, folder))
    said = {"gpu_model": site.gpu_model, "constraint": site.constraint}
    return {key: value for key, value in said.items() if value}


def show(found: Sequence[Forecast]) -> None:
    """Print a line for each fine-tune."""
    table = Table(box=None)
    for title in (
        "run",
        "tokens a pass",
        "of them trained",
        "sequences",
        "steps",
        "memory",
        "hours",
    ):
        table.add_column(title, justify="left" if title in ("run", "hours") else "right")
    for one in found:
        table.add_row(", ".join(one.names), *cells(one).values())
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if any(one.amount is None for one in found):
        print("Unknown: shards that do not exist yet (snakemake --until render_shards makes them).")
    if any(one.memory for one in found):
        print(
            "Memory is that of one process: weights, gradients and optimizer, plus activations of"
            " one pass (at most), which shrink with the micro batch and where layers recompute"
            " them. docs/training.md"
        )


def cells(one: Forecast) -> Mapping[str, str]:
    """Return the words for each figure of a forecast."""
    amount: Any = one.amount
    hours = [f"{value:.2g} on {device}" for device, value in one.hours.items()]
    memory = UNKNOWN
    if one.memory:
        need, way = one.memory.need, one.memory.passes
        gib = [value / 2**30 for value in (need.fixed, need.total - need.fixed)]
        again = f", 1 of {way.recomputed} layers recomputed" if way.recomputed else ""
        memory = f"{gib[0]:.2f} + {gib[1]:.2f} GiB (micro batch {way.sequences}{again})"
    passes = "" if one.passes is None else f" ({one.passes:.3g} passes)"
    return {
        "tokens": f"{amount.tokens:,}" if amount else UNKNOWN,
        "trained": f"{amount.trained_tokens:,}" if amount else UNKNOWN,
        "sequences": f"{amount.sequences:,}" if amount and amount.sequences else UNKNOWN,
        "steps": f"{one.steps:,}{passes}" if one.steps else UNKNOWN,
        "memory": memory,
        "hours": ", ".join(hours) or UNKNOWN,
    }


if __name__ == "__main__":
    main()

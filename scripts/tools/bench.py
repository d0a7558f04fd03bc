"""The one form of every benchmark: a table on the terminal, and results/bench/<name>.json.

{"machine": ..., "date": ..., "figures": [{"name": ..., "value": ..., "unit": ...}]}
"""

import datetime
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.lib.files import write_json

FOLDER = Path("results/bench")


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str


def machine() -> str:
    """Return what a reader must know of the machine: processor, cores, system."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


def _words(value: float) -> str:
    """Return a number with three decimals, or what is smaller than these show with its exponent."""
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def publish(name: str, figures: list[Figure], on: str = "") -> Path:
    """Print *figures* as a table, write them to results/bench/*name*.json and return its path.

    Args:
        name: Of the benchmark.
        figures: What was measured.
        on: What a reader must know beside processor and system: a GPU and its driver.
    """
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    where = f"{machine()}, {on}" if on else machine()
    table = Table("figure", "value", "unit", title=f"{name} ({where}, {today})")
    for figure in figures:
        table.add_row(figure.name, _words(figure.value), figure.unit)
    Console().print(table)
    path = FOLDER / f"{name}.json"
    write_json(
        path,
        {"machine": where, "date": today, "figures": [asdict(figure) for figure in figures]},
    )
    return path

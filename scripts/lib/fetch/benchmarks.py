"""Bring the questions of benchmarks into results/, in the layout that scoring reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks import kinds


def fetch_benchmark(spec: Mapping[str, Any], sources: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the questions of a benchmark to *out*, as its kind has them.

    Args:
        spec: Where they come from.
        sources: The local files that the spec names, in its order.
        out: Existing empty folder.

    Returns:
        What is to be known of them.

    Raises:
        ConfigError: A file is no longer the planned one, rows are no questions, or the hub's rows
            cannot be had.
    """
    places = dict(zip(spec.get("files", ()), sources, strict=True))
    found: dict[str, Any] = kinds.load("fetch_benchmark", spec["kind"]).fetch(spec, places, out)
    return found

"""Sums up the answers to held-out conversations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.lib.held_out import aggregate_held_out


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write perplexity and adherence of one candidate and return the numbers."""
    return aggregate_held_out(spec["benchmark"], inputs["scores"], out)

"""Sums up what a judge said of a tuned model's answers beside its base's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.lib.judged_scores import sum_up_judgements


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write wins, losses, ties and the win rate of one tuned model and return the figures."""
    (judgements,) = inputs["judgements"]
    return sum_up_judgements(spec["benchmark"], judgements, out)

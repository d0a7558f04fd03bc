"""Sums up multiple-choice answers: what the scoring job found right counts."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores


class AsScored:
    """Takes the judgement that stands with the scores."""

    columns: tuple[str, ...] = ("correct", "answer", "logprobs")

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return 1 for a right answer and 0 for a wrong one."""
        return [float(row["correct"]) for row in rows]

    def margins(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return how far the right choice is above the likeliest other one, in nats."""
        return [_margin(row["logprobs"], ascii_uppercase.index(row["answer"])) for row in rows]

    def stated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return nothing: there is no choice."""
        return {}


def _margin(logprobs: Sequence[float], right: int) -> float | None:
    """Return the margin of the right choice; None where a choice is impossible."""
    others = (logprob for place, logprob in enumerate(logprobs) if place != right)
    margin = logprobs[right] - max(others)
    return margin if math.isfinite(margin) else None


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write the category scores of one candidate and return their tallies."""
    return dict(aggregate_scores(AggregateSpec.from_json(spec), inputs["scores"], out, AsScored()))

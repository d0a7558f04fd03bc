"""Sums up multiple-choice answers: what the scoring job found right counts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores


class AsScored:
    """Takes the judgement that stands with the scores."""

    columns: tuple[str, ...] = ("correct",)

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return 1 for a right answer and 0 for a wrong one."""
        return [float(row["correct"]) for row in rows]

    def stated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return nothing: there is no choice."""
        return {}


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write the category scores of one candidate and return their tallies."""
    return dict(aggregate_scores(AggregateSpec.from_json(spec), inputs["scores"], out, AsScored()))

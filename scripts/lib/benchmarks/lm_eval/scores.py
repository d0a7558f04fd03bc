"""Sums up what lm-eval's tasks found of the answers: one of the values that each of them gives."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.lm_eval.task_metrics import TaskMetric, counted, value_of
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores


@dataclass(frozen=True)
class Counted:
    """Takes one value of every task.

    Attributes:
        metric: Says which.
    """

    metric: TaskMetric
    columns = ("metrics",)

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return the value of each answer; None for one to which the task gives none."""
        keys = counted(self.metric, rows)
        return [value_of(row, keys[row["subject"]]) for row in rows]

    def stated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the metric that was asked for, and what counts of each task."""
        return {"metric": asdict(self.metric), "counted": counted(self.metric, rows)}


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write the scores of one candidate on every task and return their tallies."""
    counting = Counted(TaskMetric(**spec["metric"]))
    return dict(aggregate_scores(AggregateSpec.from_json(spec), inputs["scores"], out, counting))

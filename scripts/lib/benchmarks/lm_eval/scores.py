"""Sums up what lm-eval's tasks found of the answers: one of the values that each of them gives.

All of them are kept with the scores, so that another metric asks no model again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.lib.errors import ScoreError
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores


@dataclass(frozen=True, kw_only=True)
class TaskMetric:
    """The metric that is asked for.

    Attributes:
        task_metric: Its name, with or without a filter (`exact_match,strict-match`); None for the
            first of each task.
    """

    task_metric: str | None


def counted(metric: TaskMetric, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return task -> the value that counts, as `metric,filter`.

    Args:
        metric: What is asked for.
        rows: Answers with `subject` and `metrics`, in the order of the questions.

    Raises:
        ScoreError: A task has no such metric.
    """
    wanted = metric.task_metric
    found: dict[str, str] = {}
    there: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["subject"] in found:
            continue
        keys = list(json.loads(row["metrics"]))
        there.setdefault(row["subject"], {}).update(dict.fromkeys(keys))
        for key in keys:
            if wanted in (None, key, key.partition(",")[0]):
                found[row["subject"]] = key
                break
    for task, keys_of in there.items():
        if task not in found:
            raise ScoreError(
                f"The task {task} gives no value {wanted or 'at all'!r} that is a mean over"
                f" questions; it gives {', '.join(keys_of) or 'none'}. Name one of these as"
                " `metric`; no model runs again."
            )
    return found


def value_of(row: Mapping[str, Any], key: str) -> float | None:
    """Return the value of an answer; None where the task gives it for other answers only.

    Raises:
        ScoreError: It is not a number.
    """
    values = json.loads(row["metrics"])
    if key in values and values[key] is None:
        raise ScoreError(
            f"{key} of the question {row['question_id']} is not a number. Choose another metric;"
            " no model runs again."
        )
    value = values.get(key)
    return None if value is None else float(value)


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

    def margins(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return none: tasks weigh choices, or generate, each in its own way."""
        return [None for _ in rows]

    def stated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the metric that was asked for, and what counts of each task."""
        return {"metric": asdict(self.metric), "counted": counted(self.metric, rows)}


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write the scores of one candidate on every task and return their tallies."""
    counting = Counted(TaskMetric(**spec["metric"]))
    return dict(aggregate_scores(AggregateSpec.from_json(spec), inputs["scores"], out, counting))

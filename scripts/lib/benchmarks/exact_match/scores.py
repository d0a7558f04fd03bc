"""Sums up generated answers: a metric judges anew what was kept, so that no model runs again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scripts.lib.benchmarks.exact_match.metrics import Metric, judge
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores
from scripts.lib.score.files import QUESTIONS_TABLE


@dataclass(frozen=True)
class Compared:
    """Compares responses with the expected answers.

    Attributes:
        metric: The way to compare.
    """

    metric: Metric
    columns = ("response", "answer")

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return 1 for a right answer and 0 for a wrong one."""
        return [float(judge(self.metric, row["response"], row["answer"])[1]) for row in rows]

    def stated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the metric."""
        return {"metric": asdict(self.metric)}


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write the category scores of one candidate and return their tallies.

    `{benchmark}.judged.jsonl` says of each answer what was compared.
    """
    metric = Metric(**spec["metric"])
    counted, scores = AggregateSpec.from_json(spec), inputs["scores"]
    tallies = aggregate_scores(counted, scores, out, Compared(metric))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in _judged_rows(scores, metric))
    (out / f"{counted.benchmark}.judged.jsonl").write_text("".join(lines), encoding="utf-8")
    return dict(tallies)


def _judged_rows(scores: Sequence[Path], metric: Metric) -> Iterator[dict[str, Any]]:
    """Yield for every generated answer what the metric compared; for people to look at."""
    for folder in scores:
        for row in pq.read_table(folder / QUESTIONS_TABLE).to_pylist():
            compared, correct = judge(metric, row["response"], row["answer"])
            yield {
                "question_id": row["question_id"],
                "correct": correct,
                "answer": row["answer"],
                "compared": compared,
                "response": row["response"],
            }

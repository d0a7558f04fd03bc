"""Which pictures stand beside the tables of a benchmark, and what stands below each."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from markupsafe import Markup

from scripts.lib.compare.document import BenchmarkResult
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.report.charts import (
    BeforeAfter,
    Measured,
    difference_chart,
    ranking_chart,
    subjects_chart,
)
from scripts.lib.report.drawing import SERIES

MOST_RANKED = 40
"""Fine-tunes in one chart, those with the largest differences."""


class Picture(TypedDict):
    """A chart and what stands below it; the table beside it has its numbers."""

    caption: str
    svg: Markup


def benchmark_charts(
    view: BenchmarkResult, name: str, compared: Mapping[str, Mapping[str, Measured]]
) -> list[Picture]:
    """Return the chart by category, or of many fine-tunes that of their averages.

    Args:
        view: Results of the benchmark.
        name: Its name.
        compared: Fine-tune -> category -> difference from its base.
    """
    label = f"{name}: differences from the base; the table has the numbers"
    if len(compared) > len(SERIES):
        averages = {run: changes[AVERAGE] for run, changes in compared.items()}
        kept = sorted(averages, key=lambda run: -abs(averages[run]["difference"]))[:MOST_RANKED]
        caption = "Average against the base, the largest loss on top"
        if len(kept) < len(averages):
            caption += f"; of {len(averages):,} fine-tunes the {len(kept)} that differ most"
        ranked = {run: averages[run] for run in kept}
        return [_picture(caption, ranking_chart(ranked, label=label))]
    if len(view["categories"]) > 1:
        chart = difference_chart(compared, view["categories"], label=label)
        if chart:
            return [_picture("Difference from the base by category", chart)]
    return []


def subject_charts(view: BenchmarkResult, name: str, runs: Sequence[str]) -> list[Picture]:
    """Return for each fine-tune its subjects before and after.

    Args:
        view: Results of the benchmark.
        name: Its name.
        runs: The fine-tunes, with differences by subject.
    """
    pictures = []
    for run in runs:
        changes = view["subject_differences"][run]
        subjects: dict[str, BeforeAfter] = {
            subject: {
                "before": 100 * view["subjects"][change["base"]][subject]["accuracy"],
                "after": 100 * view["subjects"][run][subject]["accuracy"],
                "difference": change["difference"],
                "interval": change["interval"],
            }
            for subject, change in changes.items()
        }
        base = next(iter(changes.values()))["base"]
        label = f"{run} on the subjects of {name}, before and after; the table has the numbers"
        chart = subjects_chart(subjects, base=base, run=run, label=label)
        caption = f"{run}: each subject before and after, the largest loss on top"
        pictures.append(_picture(caption, chart))
    return pictures


def _picture(caption: str, chart: str) -> Picture:
    # A chart is finished markup: matplotlib has escaped the names in it.
    return {"caption": caption, "svg": Markup(chart)}

"""What was tested of every tuned candidate, whatever the kind of benchmark: the common form."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from scripts.lib.compare.document import BenchmarkResult, Comparison, sections
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.score.documents import ChangeVerdict

AVERAGE_NAME = "average"
"""What a budget calls the average over all questions, or the win rate of all prompts."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """How far a candidate is from its base in one measure.

    Attributes:
        difference: Candidate minus base.
        interval: Low and high end of its 95 % interval, or None.
        unit: Percentage points, or nats per token, of which less is better.
        verdict: What its test says.
    """

    difference: float
    interval: tuple[float, float] | None
    unit: Literal["points", "nats"]
    verdict: ChangeVerdict


Changes = Mapping[str, Mapping[str, Change]]
"""Candidate -> measure as a budget calls it -> change; the first measure was named in advance."""

# Word of a table -> what a budget calls it, where that is another.
_NAMES = {AVERAGE: AVERAGE_NAME, "loss": "perplexity"}


def changes_of(document: Comparison, parts: Mapping[str, ModuleType]) -> dict[str, Changes]:
    """Return benchmark -> what was tested there, in the order of the report.

    Runs that differ in their seed alone have one line under the name for them all, where their mean
    was compared: no single one of them is the answer.

    Args:
        document: The comparison.
        parts: Section -> its kind's module for comparisons, of those with a benchmark.
    """
    found: dict[str, dict[str, Mapping[str, Change]]] = {
        name: _of_answers(view) for name, view in document["benchmarks"].items()
    }
    for section, views in sections(document).items():
        found |= {name: parts[section].changes(view) for name, view in views.items()}
    for name, seeds in document["seeds"].items():
        for group, effects in seeds["effects"].items():
            for member in document["groups"][group]["members"]:
                found[name].pop(member, None)
            found[name][group] = {
                name_of(label): Change(
                    difference=effect["difference"],
                    interval=ends(effect["interval"]),
                    unit=effect["unit"],
                    verdict=effect["verdict"],
                )
                for label, effect in effects.items()
            }
    return dict(found)


def name_of(measure: str) -> str:
    """Return what a budget calls a measure that tables may have another word for."""
    return _NAMES.get(measure, measure)


def ends(interval: list[float] | None) -> tuple[float, float] | None:
    """Return an interval of JSON as a pair."""
    return None if interval is None else (interval[0], interval[1])


def _of_answers(view: BenchmarkResult) -> dict[str, Mapping[str, Change]]:
    """Return candidate -> average, categories and subjects."""
    return {
        name: {
            name_of(category): Change(
                difference=one["difference"],
                interval=ends(one["interval"]),
                unit="points",
                verdict=one["verdict"],
            )
            for found in (differences, view["subject_differences"].get(name, {}))
            for category, one in found.items()
        }
        for name, differences in view["differences"].items()
    }

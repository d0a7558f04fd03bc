"""Runs that differ in one setting, drawn over its values.

Which setting that is follows from what the trainings were asked to be (their manifests' specs), so
that it makes no difference whether a `sweep` wrote the runs or somebody did.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from markupsafe import Markup

from scripts.lib.compare.document import BenchmarkResult, Comparison, Difference, SeedEffect
from scripts.lib.compare.wording import with_interval
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.report.charts import sweep_chart
from scripts.lib.report.drawing import SERIES
from scripts.lib.report.folded import Folded
from scripts.lib.report.manifests import Manifests, ReportedCandidate
from scripts.lib.report.scores import Mark, verdict_mark

LEAST_VALUES = 3
"""Values of a setting that make a line; two stand beside each other in the tables."""

MOST_CHARTS = 12

_TRAINED = ("adapters", "trained")
_DATA = ("models", "raw", "chat", "decontaminated", "given_adapters")
_SEED = "seed"

Setting = tuple[str, Any]
Settings = Mapping[str, Any]


class SweepCell(TypedDict):
    """The difference of one run from its base."""

    run: str
    change: str
    verdict: Mark


class SweepRow(TypedDict):
    """A value, and a run or none on each line."""

    value: str
    cells: list[SweepCell | None]


class SweepView(TypedDict):
    """A benchmark over the values of a setting."""

    benchmark: str
    setting: str
    caption: str
    svg: Markup
    lines: list[str]
    rows: list[SweepRow]


def sweeps(
    document: Comparison, candidates: Sequence[ReportedCandidate], manifests: Manifests
) -> list[SweepView]:
    """Return a chart for each setting that at least three runs on one base differ in alone.

    Args:
        document: The parsed `comparison.json`.
        candidates: All of them.
        manifests: Manifests by artifact id.
    """
    folded = Folded.of(document)
    groups = {one["name"]: one["group"] for one in document["candidates"]}
    bases: dict[str, dict[str, Settings]] = defaultdict(dict)
    for candidate in candidates:
        settings = _settings(candidate, manifests)
        if candidate.kind == "run" and settings:
            # Trainings that differ in their seed alone are one line of all tables.
            line = groups.get(candidate.name) or candidate.name
            bases[str(candidate.base)].setdefault(line, settings)
    views = (
        view
        for base, runs in bases.items()
        for setting in _varied(runs)
        for name, benchmark in document["benchmarks"].items()
        for view in _view(name, benchmark, folded, base, setting, _lines(runs, setting))
    )
    return [view for _, view in zip(range(MOST_CHARTS), views, strict=False)]


def _settings(candidate: ReportedCandidate, manifests: Manifests) -> dict[str, Any]:
    """Return what a training and its data were asked to be, by name; nothing without a training."""
    found: dict[str, Any] = {}
    trained = [id_ for stage in _TRAINED for id_ in candidate.made_in(stage) if id_ in manifests]
    if not trained:
        return {}
    for place, id_ in enumerate(candidate.made_in("shards")):
        if id_ in manifests:
            found |= _flat(manifests[id_]["spec"], f"dataset {place + 1}: " if place else "")
    found |= _flat(manifests[trained[0]]["spec"])
    return found | {stage: candidate.made_in(stage) for stage in _DATA}


def _flat(spec: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in spec.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, before)
        elif key != _SEED:
            flat[f"{before}{key}"] = tuple(value) if isinstance(value, list) else value
    return flat


def _varied(runs: Mapping[str, Settings]) -> list[str]:
    """Return the settings that have several values, each a number or a word."""
    values: dict[str, set[str]] = defaultdict(set)
    for settings in runs.values():
        for key, value in settings.items():
            values[key].add(repr(value))
    return [key for key, found in values.items() if len(found) > 1 and key not in _DATA]


def _lines(runs: Mapping[str, Settings], swept: str) -> dict[str, dict[Any, str]]:
    """Return what else was set -> value of the swept setting -> run, where there are enough.

    Of what else was set, a line's name says what tells it from the others.
    """
    found: dict[tuple[Setting, ...], dict[Any, str]] = defaultdict(dict)
    for run, settings in runs.items():
        value = settings.get(swept)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            rest = tuple(sorted((k, repr(v)) for k, v in settings.items() if k != swept))
            found[rest][value] = run
    kept = {rest: line for rest, line in found.items() if len(line) >= LEAST_VALUES}
    shared = set.intersection(*map(set, kept)) if kept else set()
    named: dict[str, dict[Any, str]] = {}
    for rest, line in kept.items():
        own = [f"{k} {v}" for k, v in rest if (k, v) not in shared and k not in _DATA]
        name = ", ".join(own) or "all runs"
        named[name if name not in named else f"{name} ({len(named) + 1})"] = line
    return named


def _view(
    name: str,
    benchmark: BenchmarkResult,
    folded: Folded,
    base: str,
    setting: str,
    lines: Mapping[str, Mapping[Any, str]],
) -> Iterator[SweepView]:
    """Yield the chart of a benchmark, if enough of the runs were compared on it."""
    changes: dict[str, Difference | SeedEffect] = {
        run: found[AVERAGE] for run, found in benchmark["differences"].items()
    }
    changes |= {run: found[AVERAGE] for run, found in folded.on(name).items()}
    there = {
        line: {value: run for value, run in runs.items() if run in changes}
        for line, runs in lines.items()
    }
    there = {line: runs for line, runs in there.items() if len(runs) >= LEAST_VALUES}
    if not there:
        return
    drawn = dict(list(there.items())[: len(SERIES)])
    caption = f"{name}: difference from {base} over {setting}"
    if len(drawn) < len(there):
        caption += f"; {len(drawn)} of {len(there)} lines"
    points = {
        line: {value: changes[run] for value, run in runs.items()} for line, runs in drawn.items()
    }
    values = list(dict.fromkeys(value for runs in drawn.values() for value in runs))
    if all(isinstance(value, int | float) for value in values):
        values.sort()
    label = f"{caption}; its table has the numbers"
    yield {
        "benchmark": name,
        "setting": setting,
        "caption": caption,
        # Finished markup: matplotlib has escaped what is in it.
        "svg": Markup(sweep_chart(points, setting=setting, label=label)),
        "lines": list(drawn),
        "rows": [
            {
                "value": f"{value:g}" if isinstance(value, int | float) else str(value),
                "cells": [_cell(runs.get(value), changes) for runs in drawn.values()],
            }
            for value in values
        ],
    }


def _cell(run: str | None, changes: Mapping[str, Difference | SeedEffect]) -> SweepCell | None:
    if run is None:
        return None
    change = changes[run]
    return {
        "run": run,
        "change": with_interval(change["difference"], change["interval"]),
        "verdict": verdict_mark(change["verdict"]),
    }

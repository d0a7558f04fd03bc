"""The charts of the report: losses, and differences from the base."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scripts.lib.report.drawing import (
    CARD,
    LEGEND_INCHES,
    LINE,
    MARKERS,
    MUTED,
    ROW_INCHES,
    SERIES,
    legend,
    legend_lines,
    name_rows,
    panels,
    shortened,
    svg,
)

_HEIGHT_INCHES = 2.7
_LOW_ROW_INCHES = 0.2  # of charts with many rows
_SUBJECT_CHARACTERS = 36  # the longest subject of MMLU has 35
_LOG_FROM = 8  # a setting whose largest value is so many times the smallest has a log scale
_TICKS = 8  # values that are all written below the axis


class TrainingEvent(TypedDict):
    """A line of a training history: a step of training, or an evaluation after it."""

    step: int
    epoch: float
    loss: NotRequired[float | None]
    valid_loss: NotRequired[float | None]
    set_losses: NotRequired[dict[str, float | None]]


class Measured(TypedDict):
    """A difference, or a mean of several seeds', and its 95 % interval, in one unit."""

    difference: float
    interval: list[float] | None


class BeforeAfter(Measured):
    """A part of a benchmark before and after tuning: two accuracies in percent."""

    before: float
    after: float


def loss_chart(history: Sequence[TrainingEvent], *, label: str) -> str | None:
    """Draw train and held-out loss over steps.

    Args:
        history: Events with `step` and `loss`, or `valid_loss` and `set_losses` by name, in nats
            per token; losses that are not numbers leave a gap.
        label: Text for readers who do not see the picture.

    Returns:
        An `<svg>` element, or None when there is nothing to draw.
    """
    train, valid = _points(history, "loss"), _points(history, "valid_loss")
    sets = {name: _set_points(history, name) for name in sets_of(history)}
    points = [*train, *valid, *(point for line in sets.values() for point in line)]
    if not any(math.isfinite(loss) for _, loss in points):
        return None
    with panels(_HEIGHT_INCHES, 1) as (figure, [axes]):
        if train:
            axes.plot(*zip(*train, strict=True), color=SERIES[0], linewidth=1.4, label="train")
        for place, (name, line) in enumerate({"held out": valid, **sets}.items()):
            if line:
                style: Any = {"markersize": 4, "linestyle": (0, (4, 2)), "linewidth": 1.4}
                style["marker"] = MARKERS[place % len(MARKERS)]
                color = SERIES[(1 + place) % len(SERIES)]
                axes.plot(*zip(*line, strict=True), color=color, label=name, **style)
        axes.set_xlabel("optimiser step", color=MUTED)
        axes.set_ylabel("loss (nats per token)", color=MUTED)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        legend(figure, axes)
        return svg(figure, label)


def difference_chart(
    differences: Mapping[str, Mapping[str, Measured]],
    categories: Sequence[str],
    *,
    label: str,
) -> str | None:
    """Draw each run's difference from its base per category, with its 95 % interval.

    Args:
        differences: Run -> category -> `difference` and its error in percentage points.
        categories: From top to bottom.
        label: Text for readers who do not see the picture.

    Returns:
        An `<svg>` element, or None when there are more runs than can be told apart, or none.
    """
    if not 0 < len(differences) <= len(SERIES):
        return None
    height = 0.8 + ROW_INCHES * len(categories) * (1 + 0.35 * (len(differences) - 1))
    height += LEGEND_INCHES * (legend_lines(differences) - 1)
    with panels(height, 1) as (figure, [axes]):
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, (run, changes) in enumerate(differences.items()):
            shift = 0.7 * ((place + 0.5) / len(differences) - 0.5)
            axes.errorbar(
                [changes[category]["difference"] for category in categories],
                [index + shift for index in range(len(categories))],
                xerr=[*zip(*(_reach(changes[category]) for category in categories), strict=True)],
                fmt=MARKERS[place],
                color=SERIES[place],
                markersize=5,
                elinewidth=1.4,
                label=run,
            )
        name_rows(axes, categories)
        words = "percentage points against the base, 95 % interval"
        axes.set_xlabel(words, color=MUTED, loc="right")
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        legend(figure, axes)
        return svg(figure, label)


def ranking_chart(changes: Mapping[str, Measured], *, label: str) -> str:
    """Draw the difference of each run from its base, the largest loss on top.

    Args:
        changes: Run -> its difference in percentage points.
        label: Text for readers who do not see the picture.
    """
    ranked = sorted(changes, key=lambda run: changes[run]["difference"])
    with panels(0.7 + _LOW_ROW_INCHES * len(ranked), 1) as (figure, [axes]):
        _differences(axes, [changes[run] for run in ranked])
        name_rows(axes, ranked)
        return svg(figure, label)


def subjects_chart(subjects: Mapping[str, BeforeAfter], *, base: str, run: str, label: str) -> str:
    """Draw each subject before and after, and beside it the difference, the largest loss on top.

    Args:
        subjects: Subject -> accuracy of base and run in percent, and their difference in points.
        base: Name of the base.
        run: Name of what was tuned.
        label: Text for readers who do not see the picture.
    """
    ranked = sorted(subjects, key=lambda subject: subjects[subject]["difference"])
    found = [subjects[subject] for subject in ranked]
    before, after = [one["before"] for one in found], [one["after"] for one in found]
    rows = range(len(ranked))
    height = 0.9 + _LOW_ROW_INCHES * len(ranked) + LEGEND_INCHES * (legend_lines([base, run]) - 1)
    with panels(height, 1, 1) as (figure, [accuracy, difference]):
        accuracy.hlines(rows, before, after, color=MUTED, linewidth=1.2)
        style: Any = {"linestyle": "none", "marker": "o", "markersize": 4.5, "color": SERIES[0]}
        accuracy.plot(before, rows, label=base, markerfacecolor=CARD, **style)
        accuracy.plot(after, rows, label=run, **style)
        accuracy.set_xlabel("accuracy in %", color=MUTED)
        accuracy.grid(axis="x", color=LINE, linewidth=0.8)
        _differences(difference, found)
        difference.set_xlabel("points, 95 % interval", color=MUTED)
        name_rows(accuracy, ranked, _SUBJECT_CHARACTERS)
        accuracy.tick_params(axis="y", labelsize=8)
        difference.tick_params(axis="y", length=0)
        legend(figure, accuracy)
        return svg(figure, label)


def sweep_chart(
    lines: Mapping[str, Mapping[float | str, Measured]], *, setting: str, label: str
) -> str:
    """Draw the difference from the base over the values of a setting.

    Args:
        lines: Name of a line (what else was set) -> value -> its difference in points; at most as
            many lines as there are colours.
        setting: Name of what was swept.
        label: Text for readers who do not see the picture.
    """
    values = sorted({value for line in lines.values() for value in line}, key=_numbers_first)
    numbers = [value for value in values if isinstance(value, int | float)]
    numeric = len(numbers) == len(values)
    places = dict(zip(values, numbers if numeric else range(len(values)), strict=True))
    with panels(_HEIGHT_INCHES, 1) as (figure, [axes]):
        axes.axhline(0, color=MUTED, linewidth=1)
        if numeric and numbers[0] > 0 and numbers[-1] >= _LOG_FROM * numbers[0]:
            axes.set_xscale("log")
            axes.minorticks_off()
        for place, (name, line) in enumerate(lines.items()):
            order = [value for value in values if value in line]
            axes.errorbar(
                [places[value] for value in order],
                [line[value]["difference"] for value in order],
                yerr=[*zip(*(_reach(line[value]) for value in order), strict=True)],
                fmt=f"{MARKERS[place]}-",
                color=SERIES[place],
                markersize=5,
                linewidth=1.4,
                label=name,
            )
        if len(values) <= _TICKS:
            names = [shortened(f"{value:g}" if numeric else str(value), 14) for value in values]
            axes.set_xticks([places[value] for value in values], names, parse_math=False)
        axes.set_xlabel(setting, color=MUTED, parse_math=False)
        axes.set_ylabel("points against the base", color=MUTED)
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        if len(lines) > 1:
            legend(figure, axes)
        return svg(figure, label)


def _numbers_first(value: float | str) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


def _differences(axes: Axes, changes: Sequence[Measured]) -> None:
    """Draw a difference with its interval in each row."""
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.errorbar(
        [change["difference"] for change in changes],
        range(len(changes)),
        xerr=[*zip(*(_reach(change) for change in changes), strict=True)],
        fmt="o",
        color=SERIES[0],
        markersize=4,
        elinewidth=1.2,
    )
    axes.set_xlabel("percentage points against the base, 95 % interval", color=MUTED)
    axes.grid(axis="x", color=LINE, linewidth=0.8)


def _reach(change: Measured) -> tuple[float, float]:
    """Return how far the interval reaches to the left and to the right; no width without one."""
    low, high = change["interval"] or (change["difference"],) * 2
    # Ends are found to a tolerance, and may miss a difference of -100 or 100 by a rounding.
    return max(0.0, change["difference"] - low), max(0.0, high - change["difference"])


def _points(
    history: Sequence[TrainingEvent], key: Literal["loss", "valid_loss"]
) -> list[tuple[int, float]]:
    return [
        (event["step"], math.nan if (loss := event[key]) is None else float(loss))
        for event in history
        if key in event
    ]


def sets_of(history: Sequence[TrainingEvent]) -> list[str]:
    """Return the names of the sets, beside a run's own, that it was measured on."""
    return sorted({name for event in history for name in event.get("set_losses", {})})


def _set_points(history: Sequence[TrainingEvent], name: str) -> list[tuple[int, float]]:
    return [
        (event["step"], math.nan if (loss := event["set_losses"][name]) is None else float(loss))
        for event in history
        if name in event.get("set_losses", {})
    ]

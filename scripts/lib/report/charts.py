"""The charts of the report: losses, and differences from the base."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from matplotlib.ticker import MaxNLocator

from scripts.lib.report.drawing import (
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
    svg,
)

_HEIGHT_INCHES = 2.7


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


def _reach(change: Measured) -> tuple[float, float]:
    """Return how far the interval reaches to the left and to the right; no width without one."""
    low, high = change["interval"] or (change["difference"],) * 2
    return change["difference"] - low, high - change["difference"]


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

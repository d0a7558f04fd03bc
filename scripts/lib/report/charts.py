"""Charts as inline SVG that follow the page's colours and are the same bytes every time.

Drawn with matplotlib's object interface. Its colours stand for roles and become CSS variables, so
that one picture serves light and dark pages; its text stays text, so that it scales and is found.
"""

import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NotRequired, TypedDict

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Colour in the drawing -> CSS variable of the page. The values only need to be distinct.
_ROLES = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--line",
    "#040404": "--series-1",
    "#050505": "--series-2",
    "#060606": "--series-3",
    "#070707": "--series-4",
}
_INK, _MUTED, _LINE, *_SERIES = _ROLES
_MARKERS = ("o", "s", "D", "^")

_SIZE_INCHES = (5.6, 2.7)
_ROW_INCHES = 0.34
_LEGEND_INCHES = 0.22  # a line of the legend

# Characters of a category beside the chart, and of all names in one line of its legend. The table
# above has categories in full; names are at most 60 characters long (`NAME_LIMIT`) and are not cut.
_LABEL_CHARACTERS = 32
_LEGEND_CHARACTERS = 56


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
    with _axes(_SIZE_INCHES) as (figure, axes):
        if train:
            axes.plot(*zip(*train, strict=True), color=_SERIES[0], linewidth=1.4, label="train")
        for place, (name, line) in enumerate({"held out": valid, **sets}.items()):
            if line:
                style: Any = {"markersize": 4, "linestyle": (0, (4, 2)), "linewidth": 1.4}
                style["marker"] = _MARKERS[place % len(_MARKERS)]
                color = _SERIES[(1 + place) % len(_SERIES)]
                axes.plot(*zip(*line, strict=True), color=color, label=name, **style)
        axes.set_xlabel("optimiser step", color=_MUTED)
        axes.set_ylabel("loss (nats per token)", color=_MUTED)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(axis="y", color=_LINE, linewidth=0.8)
        _legend(figure, axes)
        return _svg(figure, label)


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
    if not 0 < len(differences) <= len(_SERIES):
        return None
    height = 0.8 + _ROW_INCHES * len(categories) * (1 + 0.35 * (len(differences) - 1))
    height += _LEGEND_INCHES * (_legend_lines(differences) - 1)
    with _axes((_SIZE_INCHES[0], height)) as (figure, axes):
        axes.axvline(0, color=_MUTED, linewidth=1)
        for place, (run, changes) in enumerate(differences.items()):
            shift = 0.7 * ((place + 0.5) / len(differences) - 0.5)
            axes.errorbar(
                [changes[category]["difference"] for category in categories],
                [index + shift for index in range(len(categories))],
                xerr=[*zip(*(_reach(changes[category]) for category in categories), strict=True)],
                fmt=_MARKERS[place],
                color=_SERIES[place],
                markersize=5,
                elinewidth=1.4,
                label=run,
            )
        axes.set_yticks(range(len(categories)), [_label(name) for name in categories])
        axes.set_ylim(len(categories) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, labelcolor=_INK)
        words = "percentage points against the base, 95 % interval"
        axes.set_xlabel(words, color=_MUTED, loc="right")
        axes.grid(axis="x", color=_LINE, linewidth=0.8)
        _legend(figure, axes)
        return _svg(figure, label)


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


@contextmanager
def _axes(size_inches: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    style: Any = {"svg.hashsalt": "tunesmith", "svg.fonttype": "none", "font.size": 10}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size_inches, layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(_LINE)
        axes.tick_params(color=_LINE, labelcolor=_MUTED)
        yield figure, axes


def _label(category: str) -> str:
    if len(category) <= _LABEL_CHARACTERS:
        return category
    return f"{category[: _LABEL_CHARACTERS - 1]}…"


def _legend_lines(names: Iterable[str]) -> int:
    """Return the lines of a legend: one, or one for each name where they are long."""
    found = list(names)
    return len(found) if sum(map(len, found)) > _LEGEND_CHARACTERS else 1


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=1 if _legend_lines(names) > 1 else len(names),
        frameon=False,
        labelcolor=_INK,
        borderaxespad=0.2,
        labelspacing=0.2,
    )
    for text in legend.get_texts():
        # A run may be called "$x": not a formula.
        text.set_parse_math(False)


def _svg(figure: Figure, label: str) -> str:
    """Return the figure as an element for a page, without date, size and fixed colours."""
    buffer = io.StringIO()
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    metadata = {"Date": None, "Creator": None, "Title": label}
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    # Out: the title once more in RDF, a style sheet that would reach the whole page, ids that
    # would be double on a page of two charts, fonts (the page's serve), and the size in points.
    for pattern in (
        r"\s*<metadata>.*?</metadata>",
        r"\s*<defs>\s*<style.*?</style>\s*</defs>",
        r'(?<=<g) id="[^"]*"',
        r"(?<=[ ;])font-family: [^;]*; ",
    ):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", '<svg class="chart" role="img"', 1)
    for colour, variable in _ROLES.items():
        text = text.replace(colour, f"var({variable})")
    return text

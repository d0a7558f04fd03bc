"""Pictures as inline SVG that follow the page's colours and are the same bytes every time.

Drawn with matplotlib's object interface. Its colours stand for roles and become CSS variables, so
that one picture serves light and dark pages; its text stays text, so that it scales and is found.
"""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colour in the drawing -> CSS variable of the page. The values only need to be distinct.
_ROLES = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--line",
    "#040404": "--series-1",
    "#050505": "--series-2",
    "#060606": "--series-3",
    "#070707": "--series-4",
    "#080808": "--card",
}
INK, MUTED, LINE, *_SERIES, CARD = _ROLES
SERIES = tuple(_SERIES)
"""Colours of what is told apart; with each goes a marker, so that no meaning rests on colour."""

MARKERS = ("o", "s", "D", "^")
WIDTH_INCHES = 5.6
ROW_INCHES = 0.34
LEGEND_INCHES = 0.22  # a line of the legend

# Characters of a category beside the chart, and of all names in one line of its legend. The table
# beside it has categories in full; names are at most 60 characters long and are not cut.
_LABEL_CHARACTERS = 32
_LEGEND_CHARACTERS = 56


@contextmanager
def panels(height_inches: float, *widths: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure with one set of axes beside the other, each as wide as its weight says.

    Args:
        height_inches: Of the figure; it is as wide as all others.
        widths: One weight for each set of axes; all have their rows in common.
    """
    style: Any = {"svg.hashsalt": "tunesmith", "svg.fonttype": "none", "font.size": 10}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        found = figure.subplots(
            ncols=len(widths), sharey=True, squeeze=False, width_ratios=list(widths)
        )
        for axes in found[0]:
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.spines["bottom"].set_color(LINE)
            axes.tick_params(color=LINE, labelcolor=MUTED)
        yield figure, list(found[0])


def shortened(name: str, characters: int = _LABEL_CHARACTERS) -> str:
    """Return a name as it stands beside its row."""
    return name if len(name) <= characters else f"{name[: characters - 1]}…"


def name_rows(axes: Axes, names: Iterable[str], characters: int = _LABEL_CHARACTERS) -> None:
    """Put names beside the rows, the first on top; a name is never a formula."""
    found = [shortened(name, characters) for name in names]
    axes.set_yticks(range(len(found)), found, parse_math=False)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def legend_lines(names: Iterable[str]) -> int:
    """Return the lines of a legend: one, or one for each name where they are long."""
    found = list(names)
    return len(found) if sum(map(len, found)) > _LEGEND_CHARACTERS else 1


def legend(figure: Figure, axes: Axes) -> None:
    """Put the names of what was drawn above the picture."""
    handles, names = axes.get_legend_handles_labels()
    made = figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=1 if legend_lines(names) > 1 else len(names),
        frameon=False,
        labelcolor=INK,
        borderaxespad=0.2,
        labelspacing=0.2,
    )
    for text in made.get_texts():
        # A run may be called "$x": not a formula.
        text.set_parse_math(False)


def svg(figure: Figure, title: str) -> str:
    """Return the figure as an element for a page, without date, size and fixed colours.

    Args:
        figure: What was drawn.
        title: Text for readers who do not see the picture; no two on a page are the same.
    """
    buffer = io.StringIO()
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    metadata = {"Date": None, "Creator": None, "Title": title}
    # Ids of clipping paths and markers follow from the title, so that none is double on a page.
    with matplotlib.rc_context({"svg.hashsalt": title}):
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
    # A hundredth of a point is less than any screen shows.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", _rounded, tag[0]), text)
    for colour, variable in _ROLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

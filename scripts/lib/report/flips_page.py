"""A page of the questions of one benchmark that flipped between a base and a tuned candidate.

All rows are in the HTML; a script only hides and sorts them. Nothing comes from elsewhere, and the
page allows no script but its own.
"""

import base64
import functools
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from scripts.lib.report.asked import Asked, AskedQuestion
from scripts.lib.report.flips import FLIPPED, LOST, FlippedRow, Outcome

MOST_CHARACTERS = 1500
"""Of each part of a text on the page; what is longer is cut in its middle, and the files beside the
page have it whole."""


class Said(NamedTuple):
    """A text in three parts, of which the middle is not what another text has there."""

    before: str
    other: str
    after: str


class OptionView(NamedTuple):
    """A choice, and how likely it was to base and run."""

    letter: str
    text: str
    right: bool
    base: str
    run: str
    base_chosen: bool
    run_chosen: bool


class RowView(NamedTuple):
    """A question that flipped."""

    id: str
    place: int
    outcome: str
    css: str
    sign: str
    category: str
    subject: str
    training: str
    about: str
    change: str | None
    sure: str | None
    text: str
    options: list[OptionView]
    expected: str
    base_said: Said | None
    run_said: Said | None


@dataclass(frozen=True)
class FlipsPage:
    """What a page is about.

    Attributes:
        benchmark: Name of the benchmark.
        base: Name of the base.
        run: Name of what is compared with it.
        protocol: How it was asked, in words.
        outcomes: Outcome -> number of questions.
        files: Names of the files with all rows, by their address seen from the page.
    """

    benchmark: str
    base: str
    run: str
    protocol: str
    outcomes: Mapping[Outcome, int]
    files: Mapping[str, str]


def write_page(page: FlipsPage, rows: Sequence[FlippedRow], asked: Asked, path: Path) -> None:
    """Write a page.

    Args:
        page: What it is about.
        rows: The questions that flipped, in the order of the benchmark.
        asked: What was asked; nothing where texts are left out.
        path: The file; its folder is there.
    """
    subjects = Counter(row["subject"] for row in rows)
    examples = {name: asked.examples[name] for name in subjects if name in asked.examples}
    shown = {name: f"examples-{place}" for place, name in enumerate(examples)}
    css, script = _style(), _script()
    digest = hashlib.sha256(script.encode()).digest()
    context = {
        "title": f"{page.benchmark}: what flipped between {page.base} and {page.run}",
        "base": page.base,
        "run": page.run,
        "sentences": list(_sentences(page)),
        "files": [{"name": name, "href": href} for name, href in page.files.items()],
        "css": Markup(css),
        "script": Markup(script),
        "script_hash": f"sha256-{base64.b64encode(digest).decode()}",
        "menus": {
            "outcome": _counted(row["outcome"] for row in rows),
            "category": _counted(row["category"] for row in rows),
            "subject": sorted(subjects.items()),
            "training": _counted(row["in_training_rows"] for row in rows),
        },
        "margins": any(_change(row) is not None for row in rows),
        "count": len(rows),
        "rows": _views(rows, asked),
        "shown": shown,
        "examples": [{"subject": name, "rows": found} for name, found in examples.items()],
    }
    path.write_text(_template().render(context), encoding="utf-8")


def _sentences(page: FlipsPage) -> Iterator[str]:
    counts = page.outcomes
    total = sum(counts.values())
    flips = sum(counts.get(one, 0) for one in FLIPPED)
    parts = [f"{count:,} {outcome}" for outcome, count in counts.items()]
    yield f"{flips:,} of {total:,} questions flipped: {', '.join(parts)}."
    yield f"{page.protocol}."


def _views(rows: Sequence[FlippedRow], asked: Asked) -> Iterator[RowView]:
    """Yield the rows one by one, those that were lost first."""
    numbered = list(enumerate(rows))
    numbered.sort(key=lambda pair: pair[1]["outcome"] not in LOST)
    for place, row in numbered:
        yield _view(place, row, asked.questions.get(row["question_id"]))


def _view(place: int, row: FlippedRow, question: AskedQuestion | None) -> RowView:
    lost = row["outcome"] in LOST
    change = _change(row)
    options = _options(row, question)
    expected, base_said, run_said = "", None, None
    if not options and row["base_prediction"] is not None:
        expected = _cut(row["answer"] or "")
        base_said, run_said = _beside_each_other(_generated(row, "base"), _generated(row, "run"))
    return RowView(
        id=row["question_id"],
        place=place,
        outcome=row["outcome"],
        css="worse" if lost else "better",
        sign="▼" if lost else "▲",
        category=row["category"],
        subject=row["subject"],
        training=row["in_training_rows"],
        about=", ".join(_about(row)),
        change=None if change is None else f"{change:.4f}",
        sure=None if change is None else f"{row['base_margin']:.4f}",
        text=_cut(question.text, 2 * MOST_CHARACTERS) if question else "",
        options=options,
        expected=expected,
        base_said=base_said,
        run_said=run_said,
    )


def _about(row: FlippedRow) -> Iterator[str]:
    yield row["subject"]
    if row["category"] != row["subject"]:
        yield row["category"]
    base, run = row["base_margin"], row["run_margin"]
    if base is not None and run is not None:
        yield f"margin of the right choice {_signed(base)} → {_signed(run)} nats"
    if row["outcome"] in ("lower", "higher"):
        yield f"score {row['base_score']:.3g} → {row['run_score']:.3g}"
    if row["in_training_rows"] == "yes":
        yield "stands in the training rows"


def _change(row: FlippedRow) -> float | None:
    base, run = row["base_margin"], row["run_margin"]
    return None if base is None or run is None else run - base


def _options(row: FlippedRow, question: AskedQuestion | None) -> list[OptionView]:
    """Return the choices with the share of each; nothing where no choices were weighed."""
    before, after = row["base_logprobs"], row["run_logprobs"]
    choices = question.choices if question else ()
    count = len(choices) or len(before or ())
    if not before or not after or count < 2 or not count <= min(len(before), len(after)):
        return []
    shares = [_shares(logprobs[:count]) for logprobs in (before, after)]
    views: list[OptionView] = []
    for place in range(count):
        letter, text = (choices[place].letter, choices[place].text) if choices else ("", "")
        if not choices:
            letter = chr(ord("A") + place) if count <= 26 else str(place + 1)
        names = {letter, text} - {""}
        views.append(
            OptionView(
                letter=letter,
                text=_cut(text),
                right=row["answer"] in names,
                base=shares[0][place],
                run=shares[1][place],
                base_chosen=row["base_prediction"] in names,
                run_chosen=row["run_prediction"] in names,
            )
        )
    return views


def _shares(logprobs: Sequence[float]) -> list[str]:
    """Return how the choices share what is likely of them, in percent."""
    top = max(logprobs)
    if not math.isfinite(top):
        return ["" for _ in logprobs]
    weights = [math.exp(one - top) for one in logprobs]
    total = math.fsum(weights)
    return [f"{100 * weight / total:.1f} %" for weight in weights]


def _generated(row: FlippedRow, who: str) -> str:
    said = row["base_response"] if who == "base" else row["run_response"]
    predicted = row["base_prediction"] if who == "base" else row["run_prediction"]
    return said if said is not None else predicted or ""


def _beside_each_other(base: str, run: str) -> tuple[Said, Said]:
    """Return two texts with what only one of them has apart: all between their common ends."""
    ours, theirs = (re.findall(r"\s+|\S+", text) for text in (base, run))
    begin = _alike(ours, theirs)
    end = _alike(ours[begin:][::-1], theirs[begin:][::-1])
    first, second = (
        Said(
            _cut("".join(words[:begin])),
            _cut("".join(words[begin : len(words) - end])),
            _cut("".join(words[len(words) - end :])),
        )
        for words in (ours, theirs)
    )
    return first, second


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many first words two texts share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _cut(text: str, most: int = MOST_CHARACTERS) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _counted(values: Iterator[str]) -> list[tuple[str, int]]:
    return list(Counter(values).items())


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = Path(__file__).with_name("flips.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template)


@functools.cache
def _style() -> str:
    """Return the first page's style with what these pages have beside it."""
    first = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return first + Path(__file__).with_name("flips.css").read_text(encoding="utf-8")


@functools.cache
def _script() -> str:
    return Path(__file__).with_name("flips.js").read_text(encoding="utf-8")

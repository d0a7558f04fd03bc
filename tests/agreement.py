"""One figure stands in five kinds of files: what each says of a score and of a difference.

A reader of page, Markdown and CSV must find what `comparison.json` says, and what the rows in
Parquet and CSV add up to.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

NUMBER = re.compile(r"[+\N{MINUS SIGN}]?\d[\d,]*(?:\.\d+)?")


def numbers(text: str) -> list[float]:
    """Return the numbers of a text as people read them."""
    found = NUMBER.findall(text)
    return [float(one.replace(",", "").replace("\N{MINUS SIGN}", "-")) for one in found]


class Tables(HTMLParser):
    """The tables of a page: label of the region -> row -> column -> text of the cell."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, dict[str, str]]] = {}
        self._label, self._row, self._columns, self._cell, self._small = "", [], [], None, 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._label = dict(attrs).get("aria-label") or self._label
        if tag == "table":
            self._columns = []
        elif tag == "tr":
            self._row = []
        elif tag in ("th", "td"):
            self._cell = ""
        elif tag == "small" and self._columns == []:
            self._small = 1  # below a heading stands what the column is to others

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td") and self._cell is not None:
            self._row.append(" ".join(self._cell.split()))
            self._cell = None
        elif tag == "tr" and not self._columns:
            self._columns = self._row
        elif tag == "tr":
            named = dict(zip(self._columns, self._row, strict=False))
            self.found.setdefault(self._label, {})[self._row[0]] = named
        elif tag == "small":
            self._small = 0

    def handle_data(self, data: str) -> None:
        if self._cell is not None and not self._small:
            self._cell += data


def assert_agreement(comparison: Path, report: Path) -> int:
    """Hold all files of a comparison and its report against `comparison.json`.

    Args:
        comparison: Folder with `comparison.{json,csv,md}`.
        report: Folder with the page, the pages of flips and the rows.

    Returns:
        How many scores were looked at.
    """
    document = json.loads((comparison / "comparison.json").read_text(encoding="utf-8"))
    markdown = dict(_markdown_tables((comparison / "comparison.md").read_text(encoding="utf-8")))
    page = Tables((report / "index.html").read_text(encoding="utf-8")).found
    with (comparison / "comparison.csv").open(encoding="utf-8", newline="") as stream:
        tidy = list(csv.DictReader(stream))
    looked_at = 0
    for name, benchmark in document["benchmarks"].items():
        rows = {run: _rows(report / "rows" / name / run) for run in benchmark["differences"]}
        for part, candidate, score, change in _figures(benchmark):
            looked_at += 1
            place = name, part, candidate
            _assert_csv(tidy, place, score, change)
            subject = part in benchmark["subjects"].get(candidate, {})
            table = page[f"Scores of {'subjects of ' if subject else ''}{name}"]
            start = f"{part} {score['n']:,} "
            (row,) = (row for first, row in table.items() if first.startswith(start))
            _assert_page(row[candidate], score, change)
            if not subject:
                _assert_markdown(markdown[name][part][candidate], score, change)
            if change is not None:
                _assert_rows(rows[candidate], part, subject, score, change)
    return looked_at


def _figures(benchmark: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping, Mapping | None]]:
    """Yield category or subject, candidate, score and difference."""
    for scores, changes in (
        (benchmark["candidates"], benchmark["differences"]),
        (benchmark["subjects"], benchmark["subject_differences"]),
    ):
        for candidate, parts in scores.items():
            for part, score in parts.items():
                yield part, candidate, score, changes.get(candidate, {}).get(part)


def _assert_csv(
    tidy: list[dict[str, str]], place: tuple[str, ...], score: Mapping, change: Mapping | None
) -> None:
    """To the last digit."""
    (row,) = (
        one
        for one in tidy
        if (one["benchmark"], one["category"], one["candidate"]) == place
        and not one["contaminated"]
        and not one["seeds"]
    )
    exact = dict(score)
    if change is not None:
        low, high = change["interval"]
        exact |= {"difference_low": low, "difference_high": high}
        exact |= {key: change[key] for key in ("difference", "gained", "lost", "p_value")}
        exact |= {"difference_stderr": change["stderr"], "p_corrected": change["p_corrected"]}
        assert (row["verdict"], row["base"]) == (change["verdict"], change["base"])
    for column, value in exact.items():
        assert float(row[column]) == value, (place, column)


def _points(score: Mapping, change: Mapping) -> list[float]:
    shown = [100 * score["accuracy"], change["difference"], *change["interval"]]
    return shown + ([change["detectable"]] if change["verdict"] == "undecided" else [])


def _noise(text: str, change: Mapping) -> list[float]:
    said = "within numeric noise" in text
    assert said == bool(change["noise"] and change["noise"]["within"])
    return [change["noise"]["points"]] if said else []


def _assert_page(text: str, score: Mapping, change: Mapping | None) -> None:
    """To two decimals, and three of p."""
    if change is None:
        expected = [100 * score["accuracy"], 100 * score["stderr"]]
    else:
        expected = [*_points(score, change), change["gained"], change["lost"]]
        expected += [max(0.001, change["p_value"])]
        if "corrected" in text:
            expected += [max(0.001, change["p_corrected"])]
        expected += _noise(text, change)
        assert change["verdict"] in text
    assert numbers(text) == pytest.approx(expected, abs=0.00501), text


def _assert_markdown(text: str, score: Mapping, change: Mapping | None) -> None:
    expected = [100 * score["accuracy"]]
    if change is not None:
        expected = [*_points(score, change), *_noise(text, change)]
        assert change["verdict"] in text
    assert numbers(text) == pytest.approx(expected, abs=0.00501), text


def _assert_rows(
    rows: list[dict[str, Any]], part: str, subject: bool, score: Mapping, change: Mapping
) -> None:
    """Counted from single questions."""
    column = "subject" if subject else "category"
    here = [row for row in rows if part == "Average" or row[column] == part]
    assert len(here) == score["n"]
    assert sum(row["run_score"] for row in here) == score["correct"]
    gained = sum(row["run_score"] > row["base_score"] for row in here)
    lost = sum(row["run_score"] < row["base_score"] for row in here)
    assert (gained, lost) == (change["gained"], change["lost"])


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file, after its CSV was found to say the same."""
    rows = pq.read_table(path.with_name(f"{path.name}.parquet")).to_pylist()
    with path.with_name(f"{path.name}.csv").open(encoding="utf-8", newline="") as stream:
        said = list(csv.DictReader(stream))
    assert len(said) == len(rows)
    for row, text in zip(rows, said, strict=True):
        assert {key: _parsed(text[key], value) for key, value in row.items()} == row
    return rows


def _parsed(text: str, like: object) -> object:
    if like is None:
        return text or None
    if isinstance(like, str):
        return text
    return json.loads(text)


def _markdown_tables(text: str) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Yield a heading and the first table below it: row -> column -> text."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        lines = [line.strip("| ").split(" | ") for line in body.splitlines() if line[:1] == "|"]
        if lines:
            table = {line[0]: dict(zip(lines[0], line, strict=False)) for line in lines[2:]}
            yield heading, table

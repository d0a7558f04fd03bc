"""What the report says about a dataset's held-out conversations: the domain itself."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from scripts.lib.benchmarks.held_out import tables
from scripts.lib.benchmarks.held_out.document import ADHERENCE, HeldOutSection
from scripts.lib.compare.document import ListedCandidate
from scripts.lib.compare.wording import plus_minus
from scripts.lib.report.scores import Answer, Column, Mark, p_words, role, verdict_mark


class Cell(TypedDict):
    """A candidate's number, with its error or with its difference from its base."""

    value: str
    error: str
    change: str
    verdict: NotRequired[Mark]
    moved: NotRequired[str]


class RowView(TypedDict):
    """A row of a table."""

    label: str
    counted: str
    cells: list[Cell]


class View(TypedDict):
    """The table of one benchmark and what is said with it."""

    name: str
    sentences: list[str]
    about: str
    notes: list[str]
    columns: list[Column]
    rows: list[RowView]


def template() -> str:
    """Return the section as a Jinja template, included by that of the page."""
    return Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")


def answers(section: Mapping[str, HeldOutSection]) -> Iterator[Answer]:
    """Yield for each fine-tune what became of it on the domain, in words and in numbers.

    Args:
        section: Benchmark -> its results.
    """
    for name, view in section.items():
        for run, change in view["differences"].items():
            base, own = view["candidates"][change["base"]], view["candidates"][run]
            before, after = (tables.number(c["perplexity"]) for c in (base, own))
            loss = change["loss"]
            yield {
                "words": tables.sentence(view, run),
                "numbers": f"{name}: perplexity {before} → {after} "
                f"({tables.loss_words(loss)} per token, {loss['verdict']}).",
            }


def notes(section: Mapping[str, HeldOutSection]) -> Iterator[str]:
    """Yield what has to be known before the tables are read."""
    for name, view in section.items():
        yield from (f"{name}: {note['text']}" for note in view["notes"])


def comparisons(section: Mapping[str, HeldOutSection]) -> int:
    """Return how many differences were tested."""
    tested = [
        change
        for view in section.values()
        for found in view["differences"].values()
        for change in (found["loss"], *(found[name] for name in ADHERENCE))
    ]
    return sum(change is not None for change in tested)


def views(
    section: Mapping[str, HeldOutSection], candidates: Sequence[ListedCandidate]
) -> list[View]:
    """Return the table of each held-out benchmark."""
    return [
        {
            "name": name,
            "sentences": [tables.sentence(view, run) for run in view["differences"]],
            "about": tables.about(view),
            "notes": [note["text"] for note in view["notes"]],
            "columns": [
                {"name": c["name"], "role": role(c)} for c in tables.compared(candidates, view)
            ],
            "rows": [
                {
                    "label": tables.label(row),
                    "counted": _counted(view, row),
                    "cells": [
                        _cell(view, c["name"], row) for c in tables.compared(candidates, view)
                    ],
                }
                for row in tables.rows(view)
            ],
        }
        for name, view in section.items()
    ]


def _counted(view: HeldOutSection, row: tables.Row) -> str:
    first = next(iter(view["candidates"].values()))
    match row:
        case "perplexity" | "bits_per_byte":
            return f"{first['n']:,} reference answers"
        case _:
            return f"{tables.rate_of(first, row)['n']:,} answers"


def _cell(view: HeldOutSection, name: str, row: tables.Row) -> Cell:
    own = view["candidates"][name]
    cell: Cell = {"value": tables.value(view, name, row), "error": "", "change": ""}
    match row:
        case "bits_per_byte":
            return cell
        case "perplexity":
            if name not in view["differences"]:
                return cell
            loss = view["differences"][name]["loss"]
            moved = f"{loss['improved']:,} improved, {loss['worsened']:,} worsened"
            verdict, p_value = loss["verdict"], loss["p_value"]
        case _:
            stderr = tables.rate_of(own, row)["stderr"]
            cell["error"] = plus_minus(None if stderr is None else 100 * stderr).strip()
            change = tables.difference_of(view, name, row)
            if change is None:
                return cell
            moved = f"{change['gained']:,} gained, {change['lost']:,} lost"
            verdict, p_value = change["verdict"], change["p_value"]
    cell["change"] = tables.change_words(view, name, row)
    cell["verdict"] = verdict_mark(verdict)
    cell["moved"] = f"{moved}, {p_words(p_value)}"
    return cell

"""What the report says about a dataset's held-out conversations: the domain itself."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NotRequired, TypedDict

from scripts.lib.benchmarks.held_out import tables
from scripts.lib.benchmarks.held_out.document import ADHERENCE, HeldOutSection
from scripts.lib.compare.document import ListedCandidate, SeedGroup
from scripts.lib.compare.wording import percent, plus_minus, size_words
from scripts.lib.report.folded import Effects, Folded, effect_words, spread_words
from scripts.lib.report.scores import Answer, Column, Mark, decided_words, role, verdict_mark


class Cell(TypedDict):
    """A candidate's number, with its error or with its difference from its base."""

    value: str
    error: str
    change: str
    verdict: NotRequired[Mark]
    size: NotRequired[str]
    moved: NotRequired[str]


class RowView(TypedDict):
    """A row of a table."""

    label: str
    counted: str
    cells: list[Cell]


class TableView(TypedDict):
    """Candidates beside each other, measure by measure."""

    columns: list[Column]
    rows: list[RowView]


class FoldedView(TableView):
    """The trainings of a run with seeds beside their base."""

    title: str


class View(TableView):
    """The table of one benchmark and what is said with it."""

    name: str
    sentences: list[str]
    about: str
    notes: list[str]
    folded: list[FoldedView]


def template() -> str:
    """Return the section as a Jinja template, included by that of the page."""
    return Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")


def answers(section: Mapping[str, HeldOutSection], folded: Folded) -> Iterator[Answer]:
    """Yield for each fine-tune what became of it on the domain, in words and in numbers.

    Args:
        section: Benchmark -> its results.
        folded: Who is summed up elsewhere.
    """
    for name, view in section.items():
        members = folded.members(name)
        for run, change in view["differences"].items():
            if run in members:
                continue
            base, own = view["candidates"][change["base"]], view["candidates"][run]
            before, after = (tables.number(c["perplexity"]) for c in (base, own))
            loss = change["loss"]
            yield {
                "words": tables.sentence(view, run),
                "numbers": f"{name}: perplexity {before} → {after} "
                f"({tables.loss_words(loss)} per token,"
                f" {tables.decision_words(view, run, 'perplexity')}).",
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
    section: Mapping[str, HeldOutSection],
    candidates: Sequence[ListedCandidate],
    folded: Folded,
) -> list[View]:
    """Return the table of each held-out benchmark.

    Args:
        section: Benchmark -> its results.
        candidates: All candidates, in the order of tables.
        folded: Who stands in one line.
    """
    result: list[View] = []
    for name, view in section.items():
        there, effects = tables.compared(candidates, view), folded.on(name)
        members = folded.members(name)
        single = [run for run in view["differences"] if run not in members]
        result.append(
            {
                "name": name,
                "sentences": [tables.sentence(view, run) for run in single],
                "about": tables.about(view),
                "notes": [note["text"] for note in view["notes"]],
                **_table(view, folded.lines(name, there), folded, effects),
                "folded": [
                    {
                        "title": folded.title(group),
                        **_table(view, folded.below(group, there), folded, {}),
                    }
                    for group in effects
                ],
            }
        )
    return result


def _table(
    view: HeldOutSection,
    lines: Sequence[ListedCandidate],
    folded: Folded,
    effects: Mapping[str, Effects],
) -> TableView:
    return {
        "columns": [
            {"name": c["name"], "role": folded.role(c["name"], role(c), effects)} for c in lines
        ],
        "rows": [
            {
                "label": tables.label(row),
                "counted": _counted(view, row),
                "cells": [
                    _group_cell(view, folded.groups[c["name"]], row, effects[c["name"]])
                    if c["name"] in effects
                    else _cell(view, c["name"], row)
                    for c in lines
                ],
            }
            for row in tables.rows(view)
        ],
    }


def _group_cell(view: HeldOutSection, group: SeedGroup, row: tables.Row, effects: Effects) -> Cell:
    """Return the cell of a run with seeds: the means over these, of perplexity that of the loss."""
    found = [view["candidates"][name] for name in group["members"]]
    match row:
        case "bits_per_byte":
            value = tables.number(fmean(one["bits_per_byte"] for one in found))
            return {"value": value, "error": "", "change": ""}
        case "perplexity":
            value = tables.number(math.exp(fmean(one["loss"] for one in found)))
            effect = effects["loss"]
        case _:
            value = percent(fmean(tables.rate_of(one, row)["rate"] for one in found))
            effect = effects[row]
    return {
        "value": value,
        "error": "",
        "change": effect_words(effect),
        "verdict": verdict_mark(effect["verdict"]),
        "size": "",
        "moved": spread_words(effect),
    }


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
            verdict, decided = loss["verdict"], decided_words(loss)
            size = size_words(verdict, loss["detectable"], decimals=3)
        case _:
            stderr = tables.rate_of(own, row)["stderr"]
            cell["error"] = plus_minus(None if stderr is None else 100 * stderr).strip()
            change = tables.difference_of(view, name, row)
            if change is None:
                return cell
            moved = f"{change['gained']:,} gained, {change['lost']:,} lost"
            verdict, decided = change["verdict"], decided_words(change)
            size = size_words(verdict, change["detectable"])
    cell["change"] = tables.change_words(view, name, row)
    cell["verdict"] = verdict_mark(verdict)
    cell["moved"] = f"{moved}, {decided}"
    cell["size"] = size
    return cell

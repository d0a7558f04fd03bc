"""What the report says about a dataset's held-out conversations: the domain itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.held_out import tables
from scripts.lib.compare.wording import plus_minus
from scripts.lib.report.scores import View, p_words, role, verdict_mark


def template() -> str:
    """Return the section as a Jinja template, included by that of the page."""
    return Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")


def answers(document: Mapping[str, Any]) -> Iterator[View]:
    """Yield for each fine-tune what became of it on the domain, in words and in numbers.

    Args:
        document: The parsed `comparison.json`.
    """
    for name, view in document["held_out"].items():
        for run, change in view["differences"].items():
            base, own = view["candidates"][change["base"]], view["candidates"][run]
            before, after = (tables.number(c["perplexity"]) for c in (base, own))
            loss = change["loss"]
            yield {
                "words": tables.sentence(view, run),
                "numbers": f"{name}: perplexity {before} → {after} "
                f"({tables.change_words('perplexity', loss)} per token, {loss['verdict']}).",
            }


def views(document: Mapping[str, Any]) -> list[View]:
    """Return the table of each held-out benchmark."""
    return [
        {
            "name": name,
            "sentences": [tables.sentence(view, run) for run in view["differences"]],
            "about": tables.about(view),
            "notes": [note["text"] for note in view["notes"]],
            "columns": [
                {"name": c["name"], "role": role(c)}
                for c in document["candidates"]
                if c["name"] in view["candidates"]
            ],
            "rows": [
                {
                    "label": tables.label(row),
                    "judged": _judged(view, row),
                    "cells": [
                        _cell(view, c["name"], row)
                        for c in document["candidates"]
                        if c["name"] in view["candidates"]
                    ],
                }
                for row in tables.rows(view)
            ],
        }
        for name, view in document["held_out"].items()
    ]


def _judged(view: Mapping[str, Any], row: str) -> str:
    first = next(iter(view["candidates"].values()))
    if row in tables.ROWS:
        return f"{first['adherence'][row]['n']:,} answers"
    return f"{first['n']:,} reference answers"


def _cell(view: Mapping[str, Any], name: str, row: str) -> View:
    rate = view["candidates"][name]["adherence"].get(row)
    stderr = rate["stderr"] if rate else None
    cell: View = {
        "value": tables.value(view, name, row),
        "error": plus_minus(None if stderr is None else 100 * stderr).strip(),
        "change": None,
    }
    change = tables.change_of(view, name, row)
    if change is None:
        return cell
    moved = ("gained", "lost") if row in tables.ROWS else ("improved", "worsened")
    counts = ", ".join(f"{change[word]:,} {word}" for word in moved)
    return cell | {
        "change": tables.change_words(row, change),
        "verdict": verdict_mark(change["verdict"]),
        "moved": f"{counts}, {p_words(change['p_value'])}",
    }

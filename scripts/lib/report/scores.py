"""What the report says about scores: the answer in words, the tables, the chart."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from scripts.lib.compare.wording import map_words, percent, plus_minus, protocol_words, signed
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.report.charts import difference_chart

View = dict[str, Any]

# Verdict -> sign beside the word; a sign and a word, so that no meaning rests on colour.
_SIGNS = {"better": "▲", "worse": "▼", "undecided": "○", "unchanged": "="}
_CLAUSES = {
    "better": "is better than {base} on {names}",
    "worse": "is worse than {base} on {names}",
    "undecided": "shows no decided difference from {base} on {names}",
    "unchanged": "answers {names} exactly as {base} does",
}


def verdict_mark(word: str) -> View:
    """Return the badge of a comparison's verdict."""
    return {"word": word, "sign": _SIGNS[word], "css": word}


def answers(document: Mapping[str, Any]) -> list[View]:
    """Return for each compared run one sentence in words and one in numbers, on the averages.

    Args:
        document: The parsed `comparison.json`.
    """
    result = []
    for candidate in document["candidates"]:
        name = candidate["name"]
        found = {
            benchmark: (view["candidates"][name][AVERAGE], view["differences"][name][AVERAGE])
            for benchmark, view in document["benchmarks"].items()
            if name in view["differences"]
        }
        if found:
            verdicts = {benchmark: change["verdict"] for benchmark, (_, change) in found.items()}
            result.append(
                {
                    "words": f"{name} {_clauses(verdicts, candidate['base'])}.",
                    "numbers": "; ".join(_numbers(document, name, b) for b in found) + ".",
                }
            )
    return result


def page_notes(document: Mapping[str, Any]) -> list[str]:
    """Return what has to be known before the tables are read, benchmark by benchmark."""
    scored = [
        f"{name}: {note['text']}"
        for section in ("benchmarks", "held_out")
        for name, benchmark in document[section].items()
        for note in benchmark["notes"]
    ]
    judged = [
        f"{name}, {note}"
        for name, benchmark in document["judged"].items()
        for note in candidate_notes(benchmark["candidates"])
    ]
    return scored + judged


def candidate_notes(candidates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return notes on candidates, each once with the names of those whom it is about."""
    about: dict[str, list[str]] = {}
    for name, found in candidates.items():
        for note in found["notes"]:
            about.setdefault(note["text"], []).append(name)
    return [f"{_listed(names)}: {text}" for text, names in about.items()]


def count_words(document: Mapping[str, Any]) -> str:
    """Say how many comparisons were made, and what luck alone would decide among them."""
    made = sum(
        len(categories)
        for benchmark in document["benchmarks"].values()
        for categories in benchmark["differences"].values()
    )
    made += sum(
        change is not None
        for view in document["held_out"].values()
        for changes in view["differences"].values()
        for measure, change in changes.items()
        if measure != "base"
    )
    made += sum(
        1 + len(found["categories"])
        for benchmark in document["judged"].values()
        for found in benchmark["candidates"].values()
    )
    if made < 2:
        return ""
    return (
        f"The page makes {made} comparisons; had no fine-tune changed anything, luck alone would "
        "still decide up to one in twenty."
    )


def benchmark_views(document: Mapping[str, Any]) -> list[View]:
    """Return the table and the chart of each benchmark."""
    return [_benchmark(document, name) for name in document["benchmarks"]]


def _clauses(verdicts: Mapping[str, str], base: str) -> str:
    clauses = []
    for verdict, clause in _CLAUSES.items():
        names = [name for name, found in verdicts.items() if found == verdict]
        if names:
            clauses.append(clause.format(base="{base}", names=_listed(names)))
    # The base is named once; after that "it" cannot be mistaken.
    first, *rest = clauses
    return _listed([_name(first, base), *(_name(clause, "it") for clause in rest)], comma=True)


def _name(clause: str, base: str) -> str:
    return clause.replace("{base}", base)


def _listed(items: Sequence[str], *, comma: bool = False) -> str:
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])}{',' if comma else ''} and {items[-1]}"


def _numbers(document: Mapping[str, Any], run: str, benchmark: str) -> str:
    view = document["benchmarks"][benchmark]
    change = view["differences"][run][AVERAGE]
    before = view["candidates"][change["base"]][AVERAGE]["accuracy"]
    after = view["candidates"][run][AVERAGE]["accuracy"]
    difference = f"{signed(change['difference'], decimals=1)}"
    error = plus_minus(change["stderr"], decimals=1)
    return (
        f"{benchmark}: {100 * before:.1f} → {100 * after:.1f} % "
        f"({difference}{error}, {change['verdict']})"
    )


def _benchmark(document: Mapping[str, Any], name: str) -> View:
    view = document["benchmarks"][name]
    shown = [c for c in document["candidates"] if c["name"] in view["candidates"]]
    chart = None
    if len(view["categories"]) > 1:
        chart = difference_chart(
            view["differences"],
            view["categories"],
            label=f"{name}: differences from the base by category; the table has the numbers",
        )
    return {
        "name": name,
        "protocol": f"{_sentence(protocol_words(view['protocol']))}; "
        f"{map_words(view['category_map'])}. Averages are over questions.",
        "notes": [note["text"] for note in view["notes"]],
        "columns": [{"name": c["name"], "role": role(c)} for c in shown],
        "rows": list(_rows(view, [c["name"] for c in shown])),
        # The chart is finished markup: matplotlib has escaped the names in it.
        "chart": Markup(chart) if chart else None,
    }


def _rows(view: Mapping[str, Any], names: Sequence[str]) -> Iterator[View]:
    for category in view["categories"]:
        n = view["candidates"][names[0]][category]["n"]
        yield {
            "category": category,
            "questions": f"{n:,} questions",
            "cells": [_cell(view, name, category) for name in names],
        }


def _cell(view: Mapping[str, Any], name: str, category: str) -> View:
    score = view["candidates"][name][category]
    change = view["differences"].get(name, {}).get(category)
    cell: View = {
        "score": percent(score["accuracy"]),
        "error": plus_minus(None if score["stderr"] is None else 100 * score["stderr"]).strip(),
        "change": None,
    }
    if change is not None:
        cell["change"] = f"{signed(change['difference'])}{plus_minus(change['stderr'])}"
        cell["verdict"] = verdict_mark(change["verdict"])
        flips = f"{change['gained']:,} gained, {change['lost']:,} lost"
        cell["flips"] = f"{flips}, {p_words(change['p_value'])}"
    return cell


def p_words(value: float) -> str:
    """Return a p-value as it is said."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def role(candidate: Mapping[str, Any]) -> str:
    """Say what a candidate is in a table."""
    if candidate["kind"] == "base":
        return "base"
    words = f"against {candidate['base']}" if candidate["base"] else candidate["kind"]
    return f"{words}, unmerged" if candidate["unmerged"] else words


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

"""What the report says about scores: the answer in words, the tables, the chart."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NotRequired, TypedDict

from scripts.lib.compare.document import (
    BenchmarkResult,
    Comparison,
    ListedCandidate,
    SeedGroup,
)
from scripts.lib.compare.headline import clauses
from scripts.lib.compare.wording import (
    average_words,
    map_words,
    noise_words,
    percent,
    plus_minus,
    protocol_words,
    size_words,
    verdict_words,
    with_interval,
)
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.report.charts import Measured
from scripts.lib.report.folded import Effects, Folded, effect_words, spread_words
from scripts.lib.report.pictures import Picture, benchmark_charts, subject_charts
from scripts.lib.score.documents import ChangeVerdict
from scripts.lib.score.paired_documents import Decided


class Mark(TypedDict):
    """A badge: a word, the sign beside it, and its class in the page's style."""

    word: str
    sign: str
    css: str


class Answer(TypedDict):
    """What became of one candidate, in a sentence of words and one of numbers."""

    words: str
    numbers: str


class Column(TypedDict):
    """The head of a candidate's column."""

    name: str
    role: str


class Cell(TypedDict):
    """A candidate's score, with its error or with its difference from its base."""

    score: str
    error: str
    change: str
    verdict: NotRequired[Mark]
    size: NotRequired[str]
    flips: NotRequired[str]


class RowView(TypedDict):
    """A category of a table."""

    category: str
    questions: str
    cells: list[Cell]


class TableView(TypedDict):
    """Candidates beside each other, category by category."""

    columns: list[Column]
    rows: list[RowView]


class FoldedView(TableView):
    """The trainings of a run with seeds beside their base."""

    title: str


class BenchmarkView(TableView):
    """The tables and the charts of one benchmark.

    Attributes:
        many: Whether a fine-tune has a row of its own, since columns would be too many.
        left_out: What stands elsewhere, since the page would be too long.
    """

    name: str
    protocol: str
    notes: list[str]
    folded: list[FoldedView]
    subjects: TableView | None
    subject_charts: list[Picture]
    charts: list[Picture]
    many: bool
    left_out: str


MOST_BY_SUBJECT = 4
"""Fine-tunes whose subjects stand on the page."""

MOST_COLUMNS = 6
"""Candidates that stand beside each other; of more, each has a row."""

# Verdict -> sign beside the word; a sign and a word, so that no meaning rests on colour.
_SIGNS: Mapping[ChangeVerdict, str] = {
    "better": "▲",
    "worse": "▼",
    "undecided": "○",
    "unchanged": "=",
}


def verdict_mark(word: ChangeVerdict) -> Mark:
    """Return the badge of a comparison's verdict."""
    return {"word": word, "sign": _SIGNS[word], "css": word}


def answers(document: Comparison) -> list[Answer]:
    """Return for each compared run one sentence in words and one in numbers, on the averages.

    Those of a run with seeds are summed up elsewhere: no single one of them is an answer.

    Args:
        document: The parsed `comparison.json`.
    """
    result: list[Answer] = []
    for candidate in document["candidates"]:
        if candidate["group"] is not None:
            continue
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
                    "words": f"{name} {clauses(verdicts, str(candidate['base']))}.",
                    "numbers": "; ".join(_numbers(document, name, b) for b in found) + ".",
                }
            )
    return result


def notes(document: Comparison) -> Iterator[str]:
    """Yield what has to be known before the tables are read, benchmark by benchmark."""
    for name, benchmark in document["benchmarks"].items():
        yield from (f"{name}: {note['text']}" for note in benchmark["notes"])


def comparisons(document: Comparison) -> int:
    """Return how many differences were tested: of runs, and of means over seeds."""
    single = [
        len(found)
        for view in document["benchmarks"].values()
        for differences in (view["differences"], view["subject_differences"])
        for found in differences.values()
    ]
    means = [len(effects) for s in document["seeds"].values() for effects in s["effects"].values()]
    return sum(single) + sum(means)


def count_words(made: int) -> str:
    """Say how many comparisons were made, and what luck alone would decide among them."""
    if made < 2:
        return ""
    return (
        f"The page makes {made:,} comparisons. Averages, and what is measured first, were named in"
        " advance and stand each for itself; categories, further measures and subjects of one"
        " fine-tune and benchmark are decided together (Holm's correction): had it changed nothing,"
        " luck alone would call any of a family better or worse in at most one case of twenty."
    )


def benchmark_views(document: Comparison) -> list[BenchmarkView]:
    """Return the table and the chart of each benchmark."""
    folded = Folded.of(document)
    return [_benchmark(document, name, folded) for name in document["benchmarks"]]


def _numbers(document: Comparison, run: str, benchmark: str) -> str:
    view = document["benchmarks"][benchmark]
    change = view["differences"][run][AVERAGE]
    before = view["candidates"][change["base"]][AVERAGE]["accuracy"]
    after = view["candidates"][run][AVERAGE]["accuracy"]
    difference = with_interval(change["difference"], change["interval"], decimals=1)
    noise = noise_words(change)
    words = verdict_words(change["verdict"], change["detectable"], decimals=1)
    words = f"{words}, {noise}" if noise else words
    return f"{benchmark}: {100 * before:.1f} → {100 * after:.1f} % ({difference}, {words})"


def _benchmark(document: Comparison, name: str, folded: Folded) -> BenchmarkView:
    view, effects = document["benchmarks"][name], folded.on(name)
    there = [c for c in document["candidates"] if c["name"] in view["candidates"]]
    lines = folded.lines(name, there)
    drawn: dict[str, Mapping[str, Measured]] = {**view["differences"], **effects}
    compared = {c["name"]: drawn[c["name"]] for c in lines if c["name"] in drawn}
    by_subject = _by_subject(view, lines, folded)
    told = [c["name"] for c in lines if c["name"] in view["subject_differences"]]
    left_out = f"The subjects of all {len(told):,} fine-tunes stand in comparison.csv."
    return {
        "name": name,
        "protocol": f"{_sentence(protocol_words(view['protocol']))}; "
        f"{map_words(view['category_map'])}. {average_words(view)}",
        "notes": [note["text"] for note in view["notes"]],
        **_table(view, lines, folded, effects),
        "folded": [
            {
                "title": folded.title(group),
                **_table(view, folded.below(group, there), folded, {}),
            }
            for group in effects
        ],
        "subjects": by_subject,
        "subject_charts": subject_charts(view, name, told) if by_subject else [],
        "charts": benchmark_charts(view, name, compared),
        "many": len(lines) > MOST_COLUMNS,
        "left_out": left_out if told and not by_subject else "",
    }


def _table(
    view: BenchmarkResult,
    lines: Sequence[ListedCandidate],
    folded: Folded,
    effects: Mapping[str, Effects],
) -> TableView:
    counts = {c: score["n"] for c, score in next(iter(view["candidates"].values())).items()}
    return {
        "columns": [
            {"name": c["name"], "role": folded.role(c["name"], role(c), effects)} for c in lines
        ],
        "rows": [
            {
                "category": category,
                "questions": f"{counts[category]:,} questions",
                "cells": [
                    _group_cell(view, folded.groups[c["name"]], category, effects[c["name"]])
                    if c["name"] in effects
                    else _cell(view, c["name"], category)
                    for c in lines
                ],
            }
            for category in view["categories"]
        ],
    }


def _by_subject(
    view: BenchmarkResult, lines: Sequence[ListedCandidate], folded: Folded
) -> TableView | None:
    """Return the table of subjects, the largest loss of the first fine-tune on top.

    None where there are no subjects, or more fine-tunes than make a page that can be read:
    comparison.csv has them all.
    """
    compared = [c for c in lines if c["name"] in view["subject_differences"]]
    if not 0 < len(compared) <= MOST_BY_SUBJECT:
        return None
    changes = view["subject_differences"]
    first = changes[compared[0]["name"]]
    part: BenchmarkResult = {
        **view,
        "categories": sorted(first, key=lambda subject: first[subject]["difference"]),
        "candidates": view["subjects"],
        "differences": changes,
    }
    bases = {change["base"] for c in compared for change in changes[c["name"]].values()}
    shown = [c for c in lines if c["name"] in bases or c in compared]
    return _table(part, shown, folded, {})


def _group_cell(view: BenchmarkResult, group: SeedGroup, category: str, effects: Effects) -> Cell:
    members = [view["candidates"][name][category]["accuracy"] for name in group["members"]]
    effect = effects[category]
    return {
        "score": percent(fmean(members)),
        "error": "",
        "change": effect_words(effect),
        "verdict": verdict_mark(effect["verdict"]),
        "size": "",
        "flips": spread_words(effect),
    }


def _cell(view: BenchmarkResult, name: str, category: str) -> Cell:
    score = view["candidates"][name][category]
    change = view["differences"].get(name, {}).get(category)
    cell: Cell = {
        "score": percent(score["accuracy"]),
        "error": plus_minus(None if score["stderr"] is None else 100 * score["stderr"]).strip(),
        "change": "",
    }
    if change is not None:
        cell["change"] = with_interval(change["difference"], change["interval"])
        cell["verdict"] = verdict_mark(change["verdict"])
        flips = f"{change['gained']:,} gained, {change['lost']:,} lost"
        cell["flips"] = f"{flips}, {decided_words(change)}"
        cell["size"] = size_words(change["verdict"], change["detectable"])
        if noise := noise_words(change):
            cell["flips"] += f", {noise}"
    return cell


def p_words(value: float) -> str:
    """Return a p-value as it is said."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def decided_words(change: Decided) -> str:
    """Return the p-value, and the corrected one where others were decided with it."""
    words = p_words(change["p_value"])
    if change["family"] == "primary":
        return words
    return f"{words}, corrected {p_words(change['p_corrected']).removeprefix('p ').lstrip('= ')}"


def role(candidate: ListedCandidate) -> str:
    """Say what a candidate is in a table."""
    if candidate["kind"] == "base":
        return "base"
    words = f"against {candidate['base']}" if candidate["base"] else candidate["kind"]
    return f"{words}, unmerged" if candidate["unmerged"] else words


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

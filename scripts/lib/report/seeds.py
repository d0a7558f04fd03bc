"""What the report says of several seeds: mean effects, their spreads, and who differs by more."""

from collections.abc import Iterator
from typing import TypedDict

from scripts.lib.compare.document import Comparison, SeedEffect
from scripts.lib.compare.headline import clauses
from scripts.lib.compare.seed_tables import (
    METHOD,
    cells,
    counted,
    effect_words,
    pair_words,
    unit_words,
)
from scripts.lib.report.scores import Answer, Mark, verdict_mark


class SeedRow(TypedDict):
    """A line of the table: a run with seeds on a category or measure."""

    what: str
    run: str
    change: str
    verdict: Mark
    seeds: str
    questions: str


class SeedsView(TypedDict):
    """The section on several seeds."""

    about: list[str]
    method: str
    rows: list[SeedRow]
    more: list[SeedRow]
    pairs: list[str]


def seed_answers(document: Comparison) -> Iterator[Answer]:
    """Yield for each run with seeds one sentence in words and one in numbers, on the averages."""
    for name, group in document["groups"].items():
        found = {
            benchmark: next(iter(result["effects"][name].values()))
            for benchmark, result in document["seeds"].items()
            if name in result["effects"]
        }
        if found:
            verdicts = {benchmark: effect["verdict"] for benchmark, effect in found.items()}
            numbers = (
                f"{benchmark} {effect_words(e, unit_words(document, benchmark, e['unit']))}"
                for benchmark, e in found.items()
            )
            trainings = f"{counted(len(group['members']))} trainings with other seeds".capitalize()
            yield {
                "words": f"{name} {clauses(verdicts, group['base'])}.",
                "numbers": f"{trainings}: {'; '.join(numbers)}.",
            }


def seeds_view(document: Comparison) -> SeedsView | None:
    """Return the section on several seeds; None without any."""
    if not document["groups"]:
        return None
    rows: list[SeedRow] = []
    more: list[SeedRow] = []
    for benchmark, found in document["seeds"].items():
        for run, effects in found["effects"].items():
            for place, (label, effect) in enumerate(effects.items()):
                (more if place else rows).append(_row(f"{benchmark}, {label}", run, effect))
    return {
        "about": [
            f"{name} stands for {', '.join(group['members'])}: trainings of one run that differ in"
            " nothing but the seed."
            for name, group in document["groups"].items()
        ],
        "method": METHOD,
        "rows": rows,
        "more": more,
        "pairs": [
            f"{benchmark}: {pair_words(pair, unit_words(document, benchmark, pair['unit']))}"
            for benchmark, found in document["seeds"].items()
            for pair in found["pairs"]
        ],
    }


def _row(what: str, run: str, effect: SeedEffect) -> SeedRow:
    change, seeds, questions = cells(effect)
    return {
        "what": what,
        "run": run,
        "change": change,
        "verdict": verdict_mark(effect["verdict"]),
        "seeds": seeds,
        "questions": questions,
    }

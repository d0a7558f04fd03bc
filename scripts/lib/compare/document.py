"""`comparison.json`: what it holds, and which kind of benchmark has which section of it."""

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Literal, TypedDict

from scripts.lib.benchmarks.kinds import load
from scripts.lib.score.documents import Note, PairedDifference, ScoreProtocol, Tally

SECTIONS: Mapping[Literal["held_out", "judged"], str] = {
    "held_out": "held_out",
    "judged": "judged_pairs",
}
"""Section of a comparison, in their order -> the kind that it is about."""

Section = Mapping[str, object]
"""What is said of one benchmark of a kind with a section; its type lies with the kind."""


class Difference(PairedDifference):
    """How far a candidate is from its base on the same questions."""

    base: str
    """Name of the candidate that it is compared with."""


class BenchmarkResult(TypedDict):
    """What all candidates got on one benchmark, beside their bases."""

    protocol: ScoreProtocol
    """How it was asked; `fewer_shots` is the most of any candidate."""
    category_map: str
    """How subjects are put into categories: `hendrycks`, `lm-eval`, `cmmlu`, `ceval`, `column`,
    `tasks` or `none`."""
    categories: list[str]
    """Names of the categories in the order of tables, Average first."""
    candidates: dict[str, dict[str, Tally]]
    """Candidate -> category -> score."""
    differences: dict[str, dict[str, Difference]]
    """Candidate that has a base -> category -> difference from it."""
    notes: list[Note]
    """What is to be known before the numbers are read."""


class ListedCandidate(TypedDict):
    """Who is compared."""

    name: str
    """Its name in the configuration."""
    kind: Literal["base", "run", "combination"]
    """A model as it was found, one that was fine-tuned, or a combination of such."""
    base: str | None
    """Name of the candidate that it is compared with."""
    unmerged: bool
    """Whether model and adapter were scored side by side."""


class Comparison(TypedDict):
    """The whole file."""

    benchmarks: dict[str, BenchmarkResult]
    """Benchmark with questions that are right or wrong -> its results."""
    held_out: dict[str, Section]
    """Benchmark on held-out conversations -> its results."""
    judged: dict[str, Section]
    """Benchmark of judged pairs -> its results."""
    candidates: list[ListedCandidate]
    """All candidates in the order of tables: each base followed by its runs."""


def parts_of(rule: str, found: Mapping[str, Collection[object]]) -> dict[str, ModuleType]:
    """Return section -> its kind's module for a rule, of each section that holds a benchmark.

    Args:
        rule: Whose program asks.
        found: Section -> its benchmarks.
    """
    return {section: load(rule, kind) for section, kind in SECTIONS.items() if found[section]}


def sections(document: Comparison) -> dict[str, Mapping[str, Section]]:
    """Return the sections of a comparison that one kind has to itself, in their order."""
    return {section: document[section] for section in SECTIONS}

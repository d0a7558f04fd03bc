"""In words: which questions stand in training rows, and what the others say."""

from collections.abc import Iterator, Mapping

from scripts.lib.compare.document import (
    BenchmarkResult,
    Contaminated,
    Contamination,
    UntouchedMeasure,
)
from scripts.lib.compare.wording import signed, with_interval
from scripts.lib.questions.categories import AVERAGE

OF_MEASURES: Mapping[str, str] = {"loss": "nats per token", "win_rate": "points of the win rate"}
"""Measure of what was not found -> what differences in it are counted in."""

DECIMALS: Mapping[str, int] = {"nats": 3, "points": 2}
"""Unit of such a difference -> its decimals in words."""


def measure_words(one: UntouchedMeasure) -> str:
    """Say how far a candidate is from its base on what was not found, and on all."""
    decimals = DECIMALS[one["unit"]]
    return (
        f"{with_interval(one['difference'], one['interval'], decimals=decimals)}"
        f" instead of {signed(one['everywhere'], decimals=decimals)}"
        f" {OF_MEASURES[one['measure']]} ({one['verdict']}, p = {one['p_value']:.3g})"
    )


def contamination_words(one: Contaminated, change: float | None) -> str:
    """Say in a sentence how many questions were found, and what the others tell.

    Args:
        one: What was found.
        change: The difference on all questions in percentage points, or None.
    """
    if not one["searched"]:
        if not one["known"]:
            return "not known, as its training data are not at hand."
        return (
            "it asks held-out rows of what was trained on, and splits are cut"
            " so that no conversation stands in two."
        )
    words = (
        f"{one['found']:,} of {one['questions']:,} questions"
        f" {'stands' if one['found'] == 1 else 'stand'} in the training rows"
    )
    if not one["known"]:
        words += " of this configuration; what it was trained on before is not known"
    if measure := one["untouched_measure"]:
        return f"{words}; without them {measure_words(measure)}."
    untouched = one["untouched"]
    if untouched is None or change is None:
        return f"{words}."
    difference = untouched["difference"]
    return (
        f"{words}; without them {with_interval(difference['difference'], difference['interval'])}"
        f" instead of {signed(change)} points"
        f" ({difference['verdict']}, p = {difference['p_value']:.3g})."
    )


def told_of(
    name: str, section: Contamination, results: Mapping[str, BenchmarkResult]
) -> Iterator[tuple[str, Contaminated, str]]:
    """Yield benchmark, what was found for a candidate, and that in words without its name.

    Args:
        name: The candidate.
        section: What was found of all.
        results: Benchmark with questions that are right or wrong -> its results.
    """
    for benchmark, one in section["candidates"].get(name, {}).items():
        result = results.get(benchmark)
        change = result["differences"].get(name, {}).get(AVERAGE) if result else None
        yield benchmark, one, contamination_words(one, change["difference"] if change else None)


def sentences(
    section: Contamination, results: Mapping[str, BenchmarkResult]
) -> Iterator[tuple[str, str, Contaminated, str]]:
    """Yield candidate, benchmark, what was found, and that in words.

    Args:
        section: What was found of all.
        results: Benchmark with questions that are right or wrong -> its results.
    """
    for name in section["candidates"]:
        for benchmark, one, words in told_of(name, section, results):
            yield name, benchmark, one, f"{name}, {benchmark}: {words}"

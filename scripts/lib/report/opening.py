"""The report's first paragraph, for someone who did not run it, and how to read its figures."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypedDict

from scripts.lib.compare.document import Comparison
from scripts.lib.compare.wording import UNDECIDED
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.report.folded import Folded
from scripts.lib.score.statistics import SIGNIFICANCE

_NAMED = 4  # models that a sentence names; more are counted


class Term(TypedDict):
    """A word of the page and what it means."""

    word: str
    meaning: str


def opening(document: Comparison) -> str:
    """Say what was tuned from what and asked what; nothing where nothing was compared.

    Args:
        document: The parsed `comparison.json`.
    """
    tuned: dict[str, list[str]] = {}
    for candidate in document["candidates"]:
        if candidate["base"]:
            line = candidate["group"] or candidate["name"]
            names = tuned.setdefault(candidate["base"], [])
            if line not in names:
                names.append(line)
    if not tuned:
        return ""
    made = [
        f"{_names(names)} {'was' if len(names) == 1 else 'were'} made from {base} by further"
        " training"
        for base, names in tuned.items()
    ]
    shown = made if len(made) <= _NAMED else [*made[:_NAMED], f"and so on for {len(made)} bases"]
    words = f"{'; '.join(shown)}. Each answered the same questions as the model it was made from"
    asked = [
        f"{next(iter(view['candidates'].values()))[AVERAGE]['n']:,} of {name}"
        for name, view in document["benchmarks"].items()
        if view["candidates"]
    ]
    words = f"{words}{f': {_joined(asked)}' if asked else ''}."
    lines = {name for names in tuned.values() for name in names}
    return " ".join([words, *(_tallied(document) if len(lines) > _NAMED else ())])


def _tallied(document: Comparison) -> Iterator[str]:
    """Yield for each benchmark how many models came out how, where they are too many to read."""
    folded = Folded.of(document)
    for name, view in document["benchmarks"].items():
        single = view["differences"].items()
        means = {run: changes[AVERAGE]["verdict"] for run, changes in folded.on(name).items()}
        alone = {run: c[AVERAGE]["verdict"] for run, c in single if run not in folded.members(name)}
        counts = Counter({**alone, **means}.values())
        if counts:
            told = [f"{count:,} {word}" for word, count in sorted(counts.items())]
            yield f"On {name}, on average: {_joined(told)}."


def _names(names: Sequence[str]) -> str:
    return _joined(names) if len(names) <= _NAMED else f"{len(names):,} models"


def _joined(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def reading(document: Comparison, comparisons: str, *, held_out: bool, judged: bool) -> list[Term]:
    """Return the words that the page's figures are told in, each with what it means.

    Args:
        document: The parsed `comparison.json`.
        comparisons: How many were made, in words; maybe nothing.
        held_out: Whether losses on held-out texts are compared.
        judged: Whether a judge compared answers.
    """
    tests = "on questions, in the exact McNemar test on those that flipped"
    if held_out:
        tests += "; for perplexity, in a test that flips the signs of conversations' differences"
    if judged:
        tests += "; for judged pairs, in the exact sign test of wins against losses"
    if document["groups"]:
        tests += "; the mean of several seeds is tested by its interval"
    terms: list[Term] = [
        {
            "word": "Difference",
            "meaning": "The tuned model less its base, in percentage points: from 31 % to 33 % is"
            " +2.",
        },
        {
            "word": "Interval",
            "meaning": "“−0.4 to +0.5” after a difference: where it would lie for other questions"
            " of the same kind, in 95 of 100 cases.",
        },
        {
            "word": "Gained, lost",
            "meaning": "Questions that flipped: wrong before and right now, or right before and"
            " wrong now. All others tell nothing of the change.",
        },
        {
            "word": "Better, worse",
            "meaning": f"Luck alone makes such a difference in fewer than"
            f" {100 * SIGNIFICANCE:.0f} % of cases (p < {SIGNIFICANCE}; {tests}).",
        },
        {"word": "Undecided", "meaning": f"Luck may have done it. {UNDECIDED}."},
    ]
    noisy = any(
        change["noise"]
        for view in document["benchmarks"].values()
        for changes in view["differences"].values()
        for change in changes.values()
    )
    if noisy:
        terms.append(
            {
                "word": "Within numeric noise",
                "meaning": "So small that the rounding of the arithmetic, another GPU or batch"
                " size, may have made it.",
            }
        )
    if comparisons:
        terms.append({"word": "Many comparisons", "meaning": comparisons})
    return terms

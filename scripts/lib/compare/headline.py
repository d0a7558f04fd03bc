"""The first line of a comparison: whether its budget is kept, or who is better or worse."""

from collections import Counter
from collections.abc import Mapping, Sequence

from scripts.lib.compare.changes import Changes
from scripts.lib.compare.document import Budget, Comparison
from scripts.lib.score.documents import ChangeVerdict

MOST_SENTENCES = 3
"""Tuned candidates that have a sentence each; of more there are numbers."""

_CLAUSES: Mapping[ChangeVerdict, str] = {
    "better": "is better than {base} on {names}",
    "worse": "is worse than {base} on {names}",
    "undecided": "shows no decided difference from {base} on {names}",
    "unchanged": "answers {names} exactly as {base} does",
}


def headline(document: Comparison, changes: Mapping[str, Changes]) -> str:
    """Return one line that says pass, fail or undecided; without a budget, what was found.

    Args:
        document: The comparison.
        changes: Benchmark -> what was tested there.
    """
    if document["budget"] is not None:
        return _budget_words(document["budget"])
    verdicts: dict[str, dict[str, ChangeVerdict]] = {}
    for benchmark, found in changes.items():
        for candidate, measures in found.items():
            # What is measured first was named in advance.
            for first in [*measures.values()][:1]:
                verdicts.setdefault(candidate, {})[benchmark] = first.verdict
    if not verdicts:
        return "No fine-tune was compared with its base"
    if len(verdicts) > MOST_SENTENCES:
        return f"Of {len(verdicts)} fine-tunes beside their bases: {_counts(verdicts, changes)}"
    bases = {one["name"]: str(one["base"]) for one in document["candidates"]}
    bases |= {name: group["base"] for name, group in document["groups"].items()}
    return "; ".join(f"{name} {clauses(v, bases[name])}" for name, v in verdicts.items())


def _budget_words(budget: Budget) -> str:
    lines = budget["lines"]
    if budget["verdict"] == "pass":
        kept = listed(list(dict.fromkeys(line["candidate"] for line in lines)))
        return f"Budget: pass, kept by {kept}"
    blamed = [line for line in lines if line["verdict"] == budget["verdict"]]
    where = [f"{line['candidate']} on {line['benchmark']}, {line['measure']}" for line in blamed]
    more = f" and {len(where) - MOST_SENTENCES} more" if len(where) > MOST_SENTENCES else ""
    return f"Budget: {budget['verdict']}, by {'; '.join(where[:MOST_SENTENCES])}{more}"


def _counts(
    verdicts: Mapping[str, Mapping[str, ChangeVerdict]], changes: Mapping[str, Changes]
) -> str:
    said = []
    for benchmark in changes:
        counts = Counter(found[benchmark] for found in verdicts.values() if benchmark in found)
        numbers = ", ".join(f"{counts[word]} {word}" for word in _CLAUSES if counts[word])
        said.append(f"{benchmark} {numbers}")
    return "; ".join(said)


def clauses(verdicts: Mapping[str, ChangeVerdict], base: str) -> str:
    """Say on which benchmarks somebody is better or worse than a base.

    Args:
        verdicts: Benchmark -> what a test says.
        base: Name of the base.
    """
    found = []
    for verdict, clause in _CLAUSES.items():
        names = [name for name, one in verdicts.items() if one == verdict]
        if names:
            found.append(clause.format(base="{base}", names=listed(names)))
    # The base is named once; after that "it" cannot be mistaken.
    first, *rest = found
    return listed([_name(first, base), *(_name(clause, "it") for clause in rest)], comma=True)


def _name(clause: str, base: str) -> str:
    return clause.replace("{base}", base)


def listed(items: Sequence[str], *, comma: bool = False) -> str:
    """Return items as English lists them."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])}{',' if comma else ''} and {items[-1]}"

"""A budget as Markdown and in the lines of the CSV."""

from collections.abc import Iterable, Iterator, Mapping

from scripts.lib.compare.budget import change_words, margin_words
from scripts.lib.compare.changes import name_of
from scripts.lib.compare.document import Budget, Comparison

_ON_UNDECIDED = {
    "fail": "What is undecided fails the workflow",
    "pass": "What is undecided does not fail the workflow",
}


def budget_markdown(budget: Budget | None) -> Iterator[str]:
    """Yield the table of a budget; nothing without one."""
    if budget is None:
        return
    yield "| Budget | Candidate | Margin | Difference | Verdict |"
    yield f"|:---|:---|{'---:|' * 2}:---|"
    for line in budget["lines"]:
        what = f"{line['benchmark']}, {line['measure']}"
        cells = (what, line["candidate"], margin_words(line), change_words(line), line["verdict"])
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield f"\n{method_words(budget)}\n"


def method_words(budget: Budget) -> str:
    """Say how a budget is decided, and what becomes of what is undecided."""
    return (
        "Differences from the base with their 95 % intervals: pass where the whole interval is on"
        " the good side of the margin, fail where it is on the bad side, else undecided."
        f" {_ON_UNDECIDED[budget['on_undecided']]}."
    )


def with_margins(
    rows: Iterable[Mapping[str, object]], document: Comparison
) -> Iterator[Mapping[str, object]]:
    """Yield CSV lines with the margin that one is held against, and what came of it.

    Args:
        rows: The lines.
        document: The comparison.
    """
    budget = document["budget"]
    held = {
        (line["benchmark"], line["measure"], line["candidate"]): line
        for line in (budget["lines"] if budget else ())
    }
    for row in rows:
        measure = name_of(str(row["category"]))
        line = held.get((str(row["benchmark"]), measure, str(row["candidate"])))
        if line is None:
            yield row
        else:
            yield {**row, "budget_margin": line["margin"], "budget_verdict": line["verdict"]}

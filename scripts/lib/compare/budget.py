"""How much worse a fine-tune may be: a budget of margins, decided as non-inferiority.

A margin is the least difference from the base that is accepted, -1.0 points say; for losses, of
which less is better, the largest. With the 95 % interval of the difference, a fine-tune

    passes           where the whole interval is on the good side of the margin
    fails            where the whole interval is on the bad side
    is undecided     else: there are too few questions to tell

so that a fine-tune which breaks the margin passes in about 2.5 % of the cases at most, and few
questions are no way to pass (International Conference on Harmonisation, E9, 1998, section 3.3.2). A
difference that no test finds is not one that is small enough; this says which it is.

`faults_of` is for whoever wants to refuse: the workflow's last rule, or a command.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.lib.compare.changes import Change, Changes
from scripts.lib.compare.document import Budget, BudgetLine, BudgetVerdict, Comparison
from scripts.lib.compare.wording import signed, with_interval
from scripts.lib.errors import BudgetError

Margins = Mapping[str, Mapping[str, float]]
"""Benchmark -> measure -> margin, in percentage points or nats per token."""

DECIMALS: Mapping[Literal["points", "nats"], int] = {"points": 2, "nats": 3}


def decide_budget(
    margins: Margins, on_undecided: Literal["fail", "pass"], changes: Mapping[str, Changes]
) -> Budget:
    """Hold every tuned candidate against every margin.

    Args:
        margins: The budget.
        on_undecided: What becomes of a workflow whose budget is undecided.
        changes: Benchmark -> what was tested there.
    """
    lines = [
        _line(benchmark, candidate, measure, margin, found)
        for benchmark, measures in margins.items()
        for candidate, found in changes.get(benchmark, {}).items()
        for measure, margin in measures.items()
    ]
    verdicts = {line["verdict"] for line in lines}
    verdict: BudgetVerdict = "pass"
    if "fail" in verdicts:
        verdict = "fail"
    elif "undecided" in verdicts:
        verdict = "undecided"
    return {"verdict": verdict, "on_undecided": on_undecided, "lines": lines}


def _line(
    benchmark: str, candidate: str, measure: str, margin: float, found: Mapping[str, Change]
) -> BudgetLine:
    line: BudgetLine = {
        "benchmark": benchmark,
        "candidate": candidate,
        "measure": measure,
        "margin": margin,
        "unit": "points",
        "difference": None,
        "interval": None,
        "verdict": "fail",
        "reason": None,
    }
    if measure not in found:
        line["reason"] = f"was not measured; there are: {', '.join(found)}"
        return line
    change = found[measure]
    interval = change.interval
    line["unit"], line["difference"] = change.unit, change.difference
    if interval is None and change.verdict == "unchanged":
        interval = (0.0, 0.0)  # every answer is as before
    if interval is None:
        line["verdict"] = "undecided"
        line["reason"] = "has no interval: too few questions, or all alike"
        return line
    line["interval"] = list(interval)
    line["verdict"] = _verdict(interval, margin, less_is_better=change.unit == "nats")
    return line


def _verdict(
    interval: tuple[float, float], margin: float, *, less_is_better: bool
) -> BudgetVerdict:
    low, high = interval
    if less_is_better:
        low, high, margin = -high, -low, -margin
    if low > margin:
        return "pass"
    return "fail" if high < margin else "undecided"


def margin_words(line: BudgetLine) -> str:
    """Say what a margin asks for, such as `at least −1.00 points`."""
    bound = "at most" if line["unit"] == "nats" else "at least"
    return f"{bound} {signed(line['margin'], decimals=DECIMALS[line['unit']])} {line['unit']}"


def change_words(line: BudgetLine) -> str:
    """Return a difference with its interval, or why there is none."""
    if line["difference"] is None or line["reason"]:
        return str(line["reason"])
    return with_interval(line["difference"], line["interval"], decimals=DECIMALS[line["unit"]])


def faults_of(document: Comparison) -> list[str]:
    """Return what breaks the budget of a comparison, a line for each; none where it is kept.

    Args:
        document: The parsed `comparison.json`.
    """
    budget = document["budget"]
    if budget is None:
        return []
    broken = {"fail"} | ({"undecided"} if budget["on_undecided"] == "fail" else set())
    return [
        f"{line['candidate']} on {line['benchmark']}, {line['measure']}: {line['verdict']}"
        f" ({change_words(line)}; {margin_words(line)})"
        for line in budget["lines"]
        if line["verdict"] in broken
    ]


def check_budget(comparison: Path, out: Path) -> dict[str, str]:
    """Refuse a comparison that breaks its budget; else write the budget as it was decided.

    Args:
        comparison: Folder of `compare_runs`.
        out: Existing empty folder.

    Returns:
        `{"verdict"}`: `pass`, or `undecided` where that may pass.

    Raises:
        BudgetError: saying who broke which margin.
    """
    document: Comparison = json.loads((comparison / "comparison.json").read_text(encoding="utf-8"))
    if faults := faults_of(document):
        raise BudgetError(
            "the budget is not kept:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\nThe report stands, and says the same. What is undecided needs more questions, a"
            " wider margin, or report: {on_undecided: pass}; docs/budget.md says how it is decided."
        )
    budget = document["budget"]
    text = json.dumps(budget, indent=2, ensure_ascii=False)
    (out / "budget.json").write_text(text + "\n", encoding="utf-8")
    return {"verdict": budget["verdict"] if budget else "pass"}

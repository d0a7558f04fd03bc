"""What the report says of the budget: who keeps which margin."""

from typing import TypedDict

from scripts.lib.compare.budget import change_words, margin_words
from scripts.lib.compare.budget_tables import method_words
from scripts.lib.compare.document import BudgetVerdict, Comparison
from scripts.lib.report.scores import Mark

_MARKS: dict[BudgetVerdict, Mark] = {
    "pass": {"word": "pass", "sign": "✓", "css": "passed"},
    "fail": {"word": "fail", "sign": "✗", "css": "failed"},
    "undecided": {"word": "undecided", "sign": "○", "css": "undecided"},
}


class BudgetRow(TypedDict):
    """A tuned model held against one margin."""

    what: str
    who: str
    margin: str
    change: str
    verdict: Mark


class BudgetView(TypedDict):
    """The table of the budget."""

    verdict: Mark
    method: str
    rows: list[BudgetRow]


def budget_view(document: Comparison) -> BudgetView | None:
    """Return the budget as a table; None without one."""
    budget = document["budget"]
    if budget is None:
        return None
    return {
        "verdict": _MARKS[budget["verdict"]],
        "method": method_words(budget),
        "rows": [
            {
                "what": f"{line['benchmark']}, {line['measure']}",
                "who": line["candidate"],
                "margin": margin_words(line),
                "change": change_words(line),
                "verdict": _MARKS[line["verdict"]],
            }
            for line in budget["lines"]
        ],
    }

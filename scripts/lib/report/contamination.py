"""What the report says of benchmark questions that stand in training rows."""

from pathlib import Path
from typing import TypedDict

from scripts.lib.compare.contamination_words import DECIMALS, OF_MEASURES, sentences
from scripts.lib.compare.document import Comparison, Contaminated
from scripts.lib.compare.wording import percent, signed, with_interval
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.report.scores import Mark, verdict_mark


class ExampleView(TypedDict):
    """A question that was found, and where."""

    question_id: str
    how: str
    question: str
    where: str
    excerpt: str


class FoundView(TypedDict):
    """A line of the table: a candidate on a benchmark of which questions were found."""

    who: str
    benchmark: str
    found: str
    rows: str
    base: str
    run: str
    change: str
    verdict: Mark | None
    before: str
    examples: list[ExampleView]


class ContaminationView(TypedDict):
    """The section."""

    sentences: list[str]
    method: str
    rows: list[FoundView]


def contamination_view(document: Comparison) -> ContaminationView | None:
    """Return the section; None where nothing was tuned.

    Args:
        document: The parsed `comparison.json`.
    """
    told = list(sentences(document["contamination"], document["benchmarks"]))
    if not told:
        return None
    return {
        "sentences": [words for _, _, _, words in told],
        "method": document["contamination"]["method"] or "",
        "rows": [
            _row(document, name, benchmark, one) for name, benchmark, one, _ in told if one["found"]
        ],
    }


def contamination_template() -> str:
    """Return the template of the section."""
    return Path(__file__).with_name("contamination.html.jinja").read_text(encoding="utf-8")


def _row(document: Comparison, name: str, benchmark: str, one: Contaminated) -> FoundView:
    untouched = one["untouched"]
    view: FoundView = {
        "who": name,
        "benchmark": benchmark,
        "found": f"{one['found']:,} of {one['questions']:,}, {one['exact']:,} whole",
        "rows": f"{one['conversations']:,}",
        "base": "",
        "run": "",
        "change": "",
        "verdict": None,
        "before": "",
        "examples": [
            {
                "question_id": question["question_id"],
                "how": "all its words"
                if question["how"] == "exact"
                else f"{100 * question['share']:.0f} % of its words",
                "question": question["question"],
                "where": question["conversation_id"],
                "excerpt": question["excerpt"],
            }
            for question in one["examples"]
        ],
    }
    if untouched:
        change = untouched["difference"]
        all_questions = document["benchmarks"][benchmark]["differences"][name][AVERAGE]
        view["base"] = percent(untouched["base"]["accuracy"])
        view["run"] = percent(untouched["run"]["accuracy"])
        view["change"] = with_interval(change["difference"], change["interval"])
        view["verdict"] = verdict_mark(change["verdict"])
        view["before"] = signed(all_questions["difference"])
    if measure := one["untouched_measure"]:
        decimals = DECIMALS[measure["unit"]]
        words = with_interval(measure["difference"], measure["interval"], decimals=decimals)
        view["base"] = f"{measure['base']:.{decimals}f}"
        view["run"] = f"{measure['run']:.{decimals}f}"
        view["change"] = f"{words} {OF_MEASURES[measure['measure']]}"
        view["verdict"] = verdict_mark(measure["verdict"])
        view["before"] = signed(measure["everywhere"], decimals=decimals)
    return view

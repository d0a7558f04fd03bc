"""Sums up generated answers: five ways to compare one with what is expected.

They look only at texts that are kept with the scores, so that another metric asks no model again.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from scripts.lib.benchmarks.exact_match.numbers import expected_fault, numbers_in
from scripts.lib.data.parquet import read_table_rows
from scripts.lib.data.replies import without_reasoning
from scripts.lib.errors import ScoreError
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores
from scripts.lib.score.files import QUESTIONS_TABLE

MetricName = Literal["exact", "normalized", "contains", "regex", "numeric"]

# Punctuation that stays before a digit when texts are normalised: it belongs to the number.
_IN_NUMBERS = "-.,\u2212"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a response is compared with the expected answer; white space around both never counts.

    Attributes:
        name: `exact`, the same text. `normalized`, the same after NFKC, without case, without
            punctuation, with single spaces. `contains`, the answer stands somewhere in the
            response, not cut out of a longer run of letters or digits. `regex`, what the one group
            of *pattern* holds where it first matches. `numeric`, the last numbers of both.
        pattern: For `regex`.
        ignore_case: Compare without case; `normalized` does so anyway.
    """

    name: MetricName
    pattern: str | None
    ignore_case: bool


def grade(metric: Metric, response: str, answer: str) -> tuple[str | None, bool]:
    """Return what *metric* takes out of a response, and whether that is the answer.

    Args:
        metric: The way to compare.
        response: What the model generated; reasoning at its start does not count.
        answer: What is expected.

    Returns:
        The part that was compared, None where there is none; and the judgement.

    Raises:
        ScoreError: The metric is `numeric` and the expected answer holds no number.
    """
    return _GRADERS[metric.name](metric, without_reasoning(response).strip(), answer.strip())


def normalized(text: str) -> str:
    """Return a text without what seldom matters: case, punctuation, white space.

    Example: `The  Answer, is: -1.5!` becomes `the answer is -1.5`.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if _drops(text, place) else text[place] for place in range(len(text)))
    return " ".join(kept.split())


def _drops(text: str, place: int) -> bool:
    letter, after = text[place], text[place + 1 : place + 2]
    if letter in _IN_NUMBERS and after.isdigit():
        return False
    return unicodedata.category(letter).startswith("P")


def _exact(metric: Metric, response: str, answer: str) -> tuple[str | None, bool]:
    return response, _same(metric, response, answer)


def _normalized(metric: Metric, response: str, answer: str) -> tuple[str | None, bool]:
    found = normalized(response)
    return found, found == normalized(answer)


def _contains(metric: Metric, response: str, answer: str) -> tuple[str | None, bool]:
    before = "(?<![0-9A-Za-z])" if re.match("[0-9A-Za-z]", answer) else ""
    after = "(?![0-9A-Za-z])" if re.search("[0-9A-Za-z]$", answer) else ""
    match = re.search(f"{before}{re.escape(answer)}{after}", response, _flags(metric))
    return (match[0], True) if match else (None, False)


def _regex(metric: Metric, response: str, answer: str) -> tuple[str | None, bool]:
    match = re.search(metric.pattern or "", response, _flags(metric))
    found = match[1].strip() if match and match[1] is not None else None
    return found, found is not None and _same(metric, found, answer)


def _numeric(metric: Metric, response: str, answer: str) -> tuple[str | None, bool]:
    expected, found = numbers_in(answer), numbers_in(response)
    if fault := expected_fault(metric.name, answer):
        raise ScoreError(f"A row {fault}; no model runs again for that.")
    return (str(found[-1]), found[-1] == expected[-1]) if found else (None, False)


def _same(metric: Metric, found: str, answer: str) -> bool:
    return found.casefold() == answer.casefold() if metric.ignore_case else found == answer


def _flags(metric: Metric) -> re.RegexFlag:
    return re.IGNORECASE if metric.ignore_case else re.NOFLAG


_GRADERS: Mapping[MetricName, Callable[[Metric, str, str], tuple[str | None, bool]]] = {
    "exact": _exact,
    "normalized": _normalized,
    "contains": _contains,
    "regex": _regex,
    "numeric": _numeric,
}


@dataclass(frozen=True)
class Compared:
    """Compares responses with the expected answers.

    Attributes:
        metric: The way to compare.
    """

    metric: Metric
    columns = ("response", "answer")

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return 1 for a right answer and 0 for a wrong one."""
        return [float(grade(self.metric, row["response"], row["answer"])[1]) for row in rows]

    def margins(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return none: answers are generated."""
        return [None for _ in rows]

    def stated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the metric."""
        return {"metric": asdict(self.metric)}


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Write the category scores of one candidate and return their tallies.

    `{benchmark}.judged.jsonl` says of each answer what was compared.
    """
    metric = Metric(**spec["metric"])
    counted, scores = AggregateSpec.from_json(spec), inputs["scores"]
    tallies = aggregate_scores(counted, scores, out, Compared(metric))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in _judged_rows(scores, metric))
    (out / f"{counted.benchmark}.judged.jsonl").write_text("".join(lines), encoding="utf-8")
    return dict(tallies)


def _judged_rows(scores: Sequence[Path], metric: Metric) -> Iterator[dict[str, Any]]:
    """Yield for every generated answer what the metric compared; for people to look at."""
    for folder in scores:
        for row in read_table_rows(folder / QUESTIONS_TABLE):
            compared, correct = grade(metric, row["response"], row["answer"])
            yield {
                "question_id": row["question_id"],
                "correct": correct,
                "answer": row["answer"],
                "compared": compared,
                "response": row["response"],
            }

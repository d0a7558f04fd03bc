"""How numbers and settings are said in tables and sentences, the same in every format."""

import json
from collections.abc import Mapping, Sequence

from scripts.lib.compare.document import BenchmarkResult, Difference
from scripts.lib.score.documents import (
    AnswerMetric,
    ChangeVerdict,
    ScoreProtocol,
    TaskMetric,
    TaskStated,
)

# U+2212 for people's eyes; files for machines keep the plain hyphen.
_MINUS = "\N{MINUS SIGN}"


# Left unsaid in the line about a protocol.
_USUAL_BACKEND = "shared-prefix"

_METRICS = {
    "exact": "exact match of a greedy answer",
    "normalized": "match of a greedy answer without case and punctuation",
    "contains": "a greedy answer that contains the expected one",
    "regex": "exact match of what `{pattern}` finds in a greedy answer",
    "numeric": "match of the last number in a greedy answer",
}


def percent(fraction: float) -> str:
    """Return a fraction from 0 to 1 in percent with two decimals, such as `65.92`."""
    return f"{100 * fraction:.2f}"


def signed(points: float, *, decimals: int = 2) -> str:
    """Return a difference with its sign, such as `+0.40`; what rounds to nothing has none."""
    text = f"{abs(points):.{decimals}f}"
    if not float(text):
        return text
    return f"{'+' if points > 0 else _MINUS}{text}"


def plus_minus(stderr: float | None, *, decimals: int = 2) -> str:
    """Return a standard error with its sign, such as ` ± 0.57`, or nothing when there is none."""
    return "" if stderr is None else f" ± {stderr:.{decimals}f}"


def with_interval(difference: float, interval: Sequence[float] | None, *, decimals: int = 2) -> str:
    """Return a difference and its 95 % interval, such as `−0.99, −2.10 to +0.12`."""
    words = signed(difference, decimals=decimals)
    if interval is None:
        return words
    low, high = (signed(end, decimals=decimals) for end in interval)
    return f"{words}, {low} to {high}"


def verdict_words(verdict: ChangeVerdict, detectable: float | None, *, decimals: int = 2) -> str:
    """Return a verdict; one that is undecided with the difference that would have been shown.

    Example: `undecided below 1.60`.
    """
    return f"{verdict}{size_words(verdict, detectable, decimals=decimals)}"


def size_words(verdict: ChangeVerdict, detectable: float | None, *, decimals: int = 2) -> str:
    """Return what belongs behind `undecided`, such as ` below 1.60`; else nothing."""
    if verdict != "undecided" or detectable is None:
        return ""
    return f" below {detectable:.{decimals}f}"


UNDECIDED = (
    "Undecided below x: so many questions, of which so many flip, show a difference of x or more in"
    " four of five cases (two-sided 5 %)"
)
"""How the words of `size_words` are to be read."""


def noise_words(difference: Difference) -> str:
    """Say that a difference may be rounding alone, with the size of that; maybe nothing."""
    noise = difference["noise"]
    if not noise or not noise["within"]:
        return ""
    return f"within numeric noise{plus_minus(noise['points'])}"


def protocol_words(protocol: ScoreProtocol) -> str:
    """Say how a benchmark was asked, such as `5-shot, plain text, float32`."""
    generated = protocol["kind"] == "exact_match"
    tasks = protocol.get("tasks")
    if generated:
        parts = [_metric_words(protocol.get("metric"))]
    elif tasks:
        parts = [_counted_words(protocol["counted"]), _shots_words(tasks)]
    else:
        parts = [f"{protocol['shots']}-shot"]
    parts += [
        template_words(protocol),
        str(protocol["dtype"]),
    ]
    if generated:
        parts.append(f"at most {protocol['max_new_tokens']} new tokens")
    if protocol["limit"] is not None:
        each = "task" if tasks else "subject"
        parts.append(f"only the first {protocol['limit']} questions of each {each}")
    if protocol.get("backend", _USUAL_BACKEND) != _USUAL_BACKEND:
        parts.append(f"asked through {protocol['backend']}")
    if protocol.get("fewer_shots"):
        parts.append(f"{protocol['fewer_shots']} too long questions with fewer examples")
    return ", ".join([*parts, *bad_row_words(protocol)])


def template_words(protocol: ScoreProtocol) -> str:
    """Say whether prompts went through a chat template, and what that was given."""
    if not protocol["chat_template"]:
        return "plain text without chat template"
    given = protocol.get("template_arguments", {})
    words = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in given.items())
    return f"chat template ({', '.join(words)})" if given else "chat template"


def bad_row_words(protocol: ScoreProtocol) -> list[str]:
    """Say which rows were left out, such as `2 rows left out (2 without answer)`; maybe nothing."""
    found = protocol.get("bad_rows", {})
    parts = (("row", found.get("questions")), ("few-shot example", found.get("examples")))
    return [
        f"{sum(counts.values()):,} {what if sum(counts.values()) == 1 else f'{what}s'} left out"
        f" ({', '.join(f'{n:,} {_reason(reason)}' for reason, n in counts.items())})"
        for what, counts in parts
        if counts
    ]


def _reason(reason: str) -> str:
    words = reason.replace("_", " ")
    return words if words.startswith("without") else f"with {words}"


def _counted_words(counted: Mapping[str, str]) -> str:
    """Say which metrics of lm-eval's tasks count, with their filters where they have a name."""
    names = dict.fromkeys(name.removesuffix(",none") for name in counted.values())
    return f"metric {' or '.join(name.replace(',', ' after ') for name in names)}"


def _shots_words(tasks: Mapping[str, TaskStated]) -> str:
    shots = sorted({task["shots"] for task in tasks.values()})
    return f"{shots[0]}-shot" if len(shots) == 1 else f"{shots[0]}- to {shots[-1]}-shot"


def _metric_words(metric: AnswerMetric | TaskMetric | None) -> str:
    if metric is None or "name" not in metric:
        return "exact match of a greedy answer"
    words = _METRICS[metric["name"]].format(pattern=metric["pattern"])
    plain = metric["ignore_case"] and metric["name"] != "normalized"
    return f"{words} without regard to case" if plain else words


def average_words(benchmark: BenchmarkResult) -> str:
    """Say which average is meant, and how the other kind comes out where there is one."""
    if len(benchmark["categories"]) == 1 and not benchmark["macro_averages"]:
        return "Average is over questions."
    words = "Average is over questions (micro)"
    if not benchmark["macro_averages"]:
        return f"{words}."
    listed = ", ".join(f"{n} {percent(a)}" for n, a in benchmark["macro_averages"].items())
    return f"{words}; over subjects, each counted alike (macro): {listed}."


def map_words(category_map: str) -> str:
    """Say which category map was used and what that means."""
    if category_map == "hendrycks":
        return "categories as in the MMLU paper (anatomy is Other)"
    if category_map == "lm-eval":
        return "categories as in lm-eval (anatomy is STEM)"
    if category_map in ("cmmlu", "ceval"):
        return f"categories as in {'CMMLU' if category_map == 'cmmlu' else 'C-Eval'}"
    if category_map == "column":
        return "categories as the questions name them"
    if category_map == "tasks":
        return "by task of lm-eval"
    return "no categories"

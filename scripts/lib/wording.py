"""How numbers and settings are said in tables and sentences, the same in every format."""

from collections.abc import Mapping
from typing import Any

from scripts.lib.score_files import FEWER_SHOTS

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


def protocol_words(protocol: Mapping[str, Any]) -> str:
    """Say how a benchmark was asked, such as `5-shot, plain text, float32`."""
    generated = protocol["kind"] == "exact_match"
    parts = [
        _metric_words(protocol.get("metric")) if generated else f"{protocol['shots']}-shot",
        "chat template" if protocol["chat_template"] else "plain text without chat template",
        str(protocol["dtype"]),
    ]
    if generated:
        parts.append(f"at most {protocol['max_new_tokens']} new tokens")
    if protocol["limit"] is not None:
        parts.append(f"only the first {protocol['limit']} questions of each subject")
    if protocol.get("backend", _USUAL_BACKEND) != _USUAL_BACKEND:
        parts.append(f"asked through {protocol['backend']}")
    if protocol.get(FEWER_SHOTS):
        parts.append(f"{protocol[FEWER_SHOTS]} too long questions with fewer examples")
    return ", ".join(parts)


def _metric_words(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return "exact match of a greedy answer"
    words = _METRICS[metric["name"]].format(pattern=metric["pattern"])
    plain = metric["ignore_case"] and metric["name"] != "normalized"
    return f"{words} without regard to case" if plain else words


def map_words(category_map: str) -> str:
    """Say which category map was used and what that means."""
    if category_map == "hendrycks":
        return "categories as in the MMLU paper (anatomy is Other)"
    if category_map == "lm-eval":
        return "categories as in lm-eval (anatomy is STEM)"
    if category_map == "column":
        return "categories as the questions name them"
    return "no categories"

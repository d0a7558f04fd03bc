"""Judged pairs as CSV lines and Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.lib.compare.wording import percent
from scripts.lib.questions.categories import AVERAGE


def tidy_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a CSV line per benchmark, tuned candidate and category.

    Args:
        document: A parsed comparison.
    """
    kinds = {c["name"]: c["kind"] for c in document["candidates"]}
    for name, benchmark in document["judged"].items():
        for run, found in benchmark["candidates"].items():
            for category, part in {AVERAGE: found, **found["categories"]}.items():
                low, high = part["interval"]
                yield {
                    "benchmark": name,
                    "category": category,
                    "candidate": run,
                    "kind": kinds[run],
                    "base": found["base"],
                    **{key: part[key] for key in ("n", "wins", "losses", "ties", "win_rate")},
                    "win_rate_low": low,
                    "win_rate_high": high,
                    **{key: part[key] for key in ("p_value", "verdict")},
                }


def markdown(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of `comparison.md` on judged pairs."""
    for name, benchmark in document["judged"].items():
        if not benchmark["candidates"]:
            continue
        yield f"## {name}\n"
        yield "| Prompts | Wins | Losses | Ties | Win rate | First place | Orders agree |"
        yield f"|:---{'|---:' * 6}|"
        for run, found in benchmark["candidates"].items():
            yield _markdown_row(f"{run} against {found['base']}", found)
            yield from (_markdown_row(*part) for part in found["categories"].items())
        yield (
            "\nOf the tuned model's answers beside its base's, judged in both orders; rates in %"
            " with 95 % intervals, ties counted half.\n"
        )
        for run, found in benchmark["candidates"].items():
            yield from (f"{run}: {note['text']}\n" for note in found["notes"])


def _markdown_row(name: str, found: Mapping[str, Any]) -> str:
    cells = [
        " ".join(name.split()).replace("|", r"\|"),
        *(f"{found[key]:,}" for key in ("wins", "losses", "ties")),
        with_interval(found),
        *(with_interval(found[key]) for key in ("first_place", "consistency")),
    ]
    return f"| {' | '.join(cells)} |"


def with_interval(found: Mapping[str, Any]) -> str:
    """Return a rate in % with its interval, such as `62.50 (48.10 to 75.00)`.

    Args:
        found: Has `rate`, or `win_rate`, and its `interval`; None where there was nothing to rate.
    """
    rate = found["win_rate"] if "win_rate" in found else found["rate"]
    if rate is None:
        return "none"
    low, high = found["interval"]
    return f"{percent(rate)} ({percent(low)} to {percent(high)})"

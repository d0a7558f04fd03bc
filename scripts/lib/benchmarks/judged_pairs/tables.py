"""Judged pairs as CSV lines and Markdown."""

from collections.abc import Iterator, Mapping, Sequence

from scripts.lib.benchmarks.judged_pairs.document import JudgedSection, PairFigures, Proportion
from scripts.lib.compare.document import ListedCandidate
from scripts.lib.compare.wording import percent
from scripts.lib.questions.categories import AVERAGE


def tidy_rows(
    section: Mapping[str, JudgedSection], candidates: Sequence[ListedCandidate]
) -> Iterator[dict[str, object]]:
    """Yield a CSV line per benchmark, tuned candidate and category.

    Args:
        section: Benchmark -> its results.
        candidates: All candidates.
    """
    kinds = {c["name"]: c["kind"] for c in candidates}
    for name, benchmark in section.items():
        for run, found in benchmark["candidates"].items():
            parts: dict[str, PairFigures] = {AVERAGE: found, **found["categories"]}
            for category, part in parts.items():
                low, high = part["interval"] or (None, None)
                yield {
                    "benchmark": name,
                    "category": category,
                    "candidate": run,
                    "kind": kinds[run],
                    "base": found["base"],
                    "n": part["n"],
                    "wins": part["wins"],
                    "losses": part["losses"],
                    "ties": part["ties"],
                    "win_rate": part["win_rate"],
                    "win_rate_low": low,
                    "win_rate_high": high,
                    "p_value": part["p_value"],
                    "family": part["family"],
                    "p_corrected": part["p_corrected"],
                    "verdict": part["verdict"],
                    "detectable": part["detectable"],
                }


def markdown(
    section: Mapping[str, JudgedSection], candidates: Sequence[ListedCandidate]
) -> Iterator[str]:
    """Yield the parts of `comparison.md` on judged pairs.

    Args:
        section: Benchmark -> its results.
        candidates: All candidates; the section names those that were judged.
    """
    for name, benchmark in section.items():
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


def _markdown_row(name: str, found: PairFigures) -> str:
    cells = [
        " ".join(name.split()).replace("|", r"\|"),
        *(f"{count:,}" for count in (found["wins"], found["losses"], found["ties"])),
        with_interval(found["win_rate"], found["interval"]),
        proportion_words(found["first_place"]),
        proportion_words(found["consistency"]),
    ]
    return f"| {' | '.join(cells)} |"


def proportion_words(found: Proportion) -> str:
    """Return a rate in % with its interval, such as `62.50 (48.10 to 75.00)`."""
    return with_interval(found["rate"], found["interval"])


def with_interval(rate: float | None, interval: Sequence[float] | None) -> str:
    """Return a rate in % with its interval; `none` where there was nothing to rate."""
    if rate is None or interval is None:
        return "none"
    low, high = interval
    return f"{percent(rate)} ({percent(low)} to {percent(high)})"

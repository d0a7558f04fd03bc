"""Files around a comparison: category scores are read, JSON, CSV and Markdown are written."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.compare.sections import parts_of
from scripts.lib.compare.wording import map_words, percent, plus_minus, protocol_words, signed
from scripts.lib.errors import ScoreError
from scripts.lib.questions.categories import CATEGORY_ORDER
from scripts.lib.questions.category_names import file_name
from scripts.lib.score.aggregation import Judged, tally

_COLUMNS = (
    "benchmark",
    "category",
    "candidate",
    "kind",
    "base",
    "n",
    "correct",
    "accuracy",
    "stderr",
    "difference",
    "difference_stderr",
    "gained",
    "lost",
    "p_value",
    "verdict",
    "perplexity",
    "bits_per_byte",
    "wins",
    "losses",
    "ties",
    "win_rate",
    "win_rate_low",
    "win_rate_high",
)


def read_categories(
    folder: Path, benchmark: str, answers: Sequence[Judged]
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Read which subjects each category holds, and hold the files against the answers.

    Args:
        folder: Category scores of one candidate.
        benchmark: Its name.
        answers: The answers they were counted from.

    Returns:
        Subjects per category in display order, and the name of the category map.

    Raises:
        ScoreError: There is no average, or a file counts other answers than these.
    """
    categories: dict[str, tuple[str, ...]] = {}
    category_map = "none"
    for category in _category_order(folder, benchmark):
        path = folder / f"{benchmark}.{file_name(category)}.json"
        if not path.is_file():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        categories[category] = tuple(document["subjects"])
        category_map = document["category_map"]
        here = tally([answer for answer in answers if answer["subject"] in document["subjects"]])
        if any(document[key] != value for key, value in here.items()):
            raise ScoreError(
                f"{path} counts {document['correct']} of {document['n']}, but the answers at hand "
                f"are {here['correct']} of {here['n']}. Remove {folder} and run again."
            )
    return categories, category_map


def _category_order(folder: Path, benchmark: str) -> tuple[str, ...]:
    """Return the categories that a benchmark can have, Average first."""
    document = _average(folder, benchmark)
    if document["category_map"] in ("column", "tasks"):
        return (CATEGORY_ORDER[0], *document["subjects"])
    return CATEGORY_ORDER


def read_protocol(folder: Path, benchmark: str) -> dict[str, Any]:
    """Return how the answers behind category scores were asked and judged.

    Raises:
        ScoreError: There is no average.
    """
    protocol: dict[str, Any] = _average(folder, benchmark)["protocol"]
    return protocol


def _average(folder: Path, benchmark: str) -> Mapping[str, Any]:
    path = folder / f"{benchmark}.{file_name(CATEGORY_ORDER[0])}.json"
    if not path.is_file():
        raise ScoreError(f"{folder} holds no average of {benchmark!r}. Remove it and run again.")
    document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def write_tables(document: Mapping[str, Any], out: Path) -> int:
    """Write a comparison as JSON, CSV and Markdown; return the number of CSV lines."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (out / "comparison.json").write_text(text + "\n", encoding="utf-8")
    (out / "comparison.md").write_text(markdown(document), encoding="utf-8")
    parts = parts_of("compare_runs", document).values()
    rows = [*_tidy_rows(document), *(row for part in parts for row in part.tidy_rows(document))]
    with (out / "comparison.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def markdown(document: Mapping[str, Any]) -> str:
    """Return a comparison as Markdown: one table per benchmark, categories down, models across."""
    lines = ["# Fine-tunes beside their bases\n"]
    for name, benchmark in document["benchmarks"].items():
        average = next(iter(benchmark["candidates"].values()))[CATEGORY_ORDER[0]]
        lines += [
            f"## {name}\n",
            *_markdown_table(document, benchmark),
            "",
            f"Accuracy in %, and in brackets the difference from the base in percentage points ± "
            f"its standard error on paired answers. {average['n']:,} questions, "
            f"{protocol_words(benchmark['protocol'])}, {map_words(benchmark['category_map'])}.\n",
            *(f"{note['text']}\n" for note in benchmark["notes"]),
        ]
    for part in parts_of("compare_runs", document).values():
        lines += part.markdown(document)
    return "\n".join(lines)


def _markdown_table(document: Mapping[str, Any], benchmark: Mapping[str, Any]) -> Iterator[str]:
    names = [c["name"] for c in document["candidates"] if c["name"] in benchmark["candidates"]]
    header = ["Category", *(name.replace("|", r"\|") for name in names)]
    yield f"| {' | '.join(header)} |"
    yield f"|:---{'|---:' * len(names)}|"
    for category in benchmark["categories"]:
        cells = [_markdown_cell(benchmark, name, category) for name in names]
        yield f"| {category} | {' | '.join(cells)} |"


def _markdown_cell(benchmark: Mapping[str, Any], name: str, category: str) -> str:
    score = percent(benchmark["candidates"][name][category]["accuracy"])
    change = benchmark["differences"].get(name, {}).get(category)
    if change is None:
        return score
    return f"{score} ({signed(change['difference'])}{plus_minus(change['stderr'])})"


def _tidy_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one line per benchmark, category and candidate; empty where nothing is compared."""
    for name, benchmark in document["benchmarks"].items():
        for category in benchmark["categories"]:
            for candidate in document["candidates"]:
                score = benchmark["candidates"].get(candidate["name"], {}).get(category)
                if score is None:
                    continue
                change = benchmark["differences"].get(candidate["name"], {}).get(category, {})
                yield {
                    "benchmark": name,
                    "category": category,
                    "candidate": candidate["name"],
                    "kind": candidate["kind"],
                    "base": candidate["base"],
                    **score,
                    "difference": change.get("difference"),
                    "difference_stderr": change.get("stderr"),
                    **{key: change.get(key) for key in ("gained", "lost", "p_value", "verdict")},
                }

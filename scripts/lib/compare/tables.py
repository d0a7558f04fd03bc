"""Files around a comparison: category scores are read, JSON, CSV and Markdown are written."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.lib.compare.budget_tables import budget_markdown, with_margins
from scripts.lib.compare.contamination import contamination_markdown, contamination_rows
from scripts.lib.compare.document import BenchmarkResult, Comparison, Difference, parts_of, sections
from scripts.lib.compare.seed_tables import seed_markdown, seed_rows
from scripts.lib.compare.wording import (
    UNDECIDED,
    average_words,
    map_words,
    noise_words,
    percent,
    protocol_words,
    verdict_words,
    with_interval,
)
from scripts.lib.errors import ScoreError
from scripts.lib.questions.categories import CATEGORY_ORDER
from scripts.lib.questions.category_names import file_name
from scripts.lib.score.aggregation import tally
from scripts.lib.score.answers import Answers
from scripts.lib.score.documents import CategoryScore, OwnProtocol, Tally

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
    "family",
    "p_corrected",
    "verdict",
    "detectable",
    "perplexity",
    "bits_per_byte",
    "wins",
    "losses",
    "ties",
    "win_rate",
    "win_rate_low",
    "win_rate_high",
    "seeds",
    "seed_sd",
    "difference_low",
    "difference_high",
    "noise_points",
    "within_noise",
    "budget_margin",
    "budget_verdict",
    "contaminated",
)


def read_categories(
    folder: Path, benchmark: str, answers: Answers
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
        document = _read(path)
        categories[category] = tuple(document["subjects"])
        category_map = document["category_map"]
        here = tally(answers.of(document["subjects"]).values.tolist())
        counted: Tally = {
            "n": document["n"],
            "correct": document["correct"],
            "accuracy": document["accuracy"],
            "stderr": document["stderr"],
        }
        if counted != here:
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


def read_protocol(folder: Path, benchmark: str) -> OwnProtocol:
    """Return how the answers behind category scores were asked and graded.

    Raises:
        ScoreError: There is no average.
    """
    return _average(folder, benchmark)["protocol"]


def _average(folder: Path, benchmark: str) -> CategoryScore:
    path = folder / f"{benchmark}.{file_name(CATEGORY_ORDER[0])}.json"
    if not path.is_file():
        raise ScoreError(f"{folder} holds no average of {benchmark!r}. Remove it and run again.")
    return _read(path)


def _read(path: Path) -> CategoryScore:
    document: CategoryScore = json.loads(path.read_text(encoding="utf-8"))
    return document


def write_tables(document: Comparison, out: Path, first_line: str) -> int:
    """Write a comparison as JSON, CSV and Markdown; return the number of CSV lines.

    Args:
        document: The comparison.
        out: Existing folder.
        first_line: What the Markdown begins with.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (out / "comparison.json").write_text(text + "\n", encoding="utf-8")
    (out / "comparison.md").write_text(markdown(document, first_line), encoding="utf-8")
    rows = [*_tidy_rows(document), *_rows_of_sections(document)]
    bases = {one["name"]: one["base"] for one in document["candidates"]}
    rows += [*contamination_rows(document["contamination"], bases), *seed_rows(document)]
    rows = [*with_margins(rows, document)]
    with (out / "comparison.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def markdown(document: Comparison, first_line: str) -> str:
    """Return a comparison as Markdown: one table per benchmark, categories down, models across."""
    lines = [f"# {first_line}\n", *budget_markdown(document["budget"])]
    for name, benchmark in document["benchmarks"].items():
        average = next(iter(benchmark["candidates"].values()))[CATEGORY_ORDER[0]]
        lines += [
            f"## {name}\n",
            *_markdown_table(document, benchmark),
            "",
            "Accuracy in %, and in brackets the difference from the base in percentage points with"
            " its 95 % interval on paired answers, and what the exact McNemar test decides"
            f"{', categories together (Holm)' if len(benchmark['categories']) > 2 else ''}. "
            f"{UNDECIDED}. {average_words(benchmark)} {average['n']:,} questions, "
            f"{protocol_words(benchmark['protocol'])}, {map_words(benchmark['category_map'])}.\n",
            *(f"{note['text']}\n" for note in benchmark["notes"]),
        ]
    found = sections(document)
    for section, part in parts_of("compare_runs", found).items():
        lines += part.markdown(found[section], document["candidates"])
    lines += contamination_markdown(document["contamination"], document["benchmarks"])
    lines += seed_markdown(document)
    return "\n".join(lines)


def _markdown_table(document: Comparison, benchmark: BenchmarkResult) -> Iterator[str]:
    names = [c["name"] for c in document["candidates"] if c["name"] in benchmark["candidates"]]
    header = ["Category", *(name.replace("|", r"\|") for name in names)]
    yield f"| {' | '.join(header)} |"
    yield f"|:---{'|---:' * len(names)}|"
    for category in benchmark["categories"]:
        cells = [_markdown_cell(benchmark, name, category) for name in names]
        yield f"| {category} | {' | '.join(cells)} |"


def _markdown_cell(benchmark: BenchmarkResult, name: str, category: str) -> str:
    score = percent(benchmark["candidates"][name][category]["accuracy"])
    change = benchmark["differences"].get(name, {}).get(category)
    if change is None:
        return score
    noise = noise_words(change)
    verdict = verdict_words(change["verdict"], change["detectable"])
    words = [with_interval(change["difference"], change["interval"]), verdict, noise]
    return f"{score} ({', '.join(filter(None, words))})"


def _rows_of_sections(document: Comparison) -> Iterator[Mapping[str, object]]:
    found = sections(document)
    for section, part in parts_of("compare_runs", found).items():
        yield from part.tidy_rows(found[section], document["candidates"])


def _tidy_rows(document: Comparison) -> Iterator[Mapping[str, object]]:
    """Yield one line per benchmark, category and candidate, then one per subject and candidate.

    Cells on differences are empty where nothing is compared.
    """
    for name, benchmark in document["benchmarks"].items():
        own = benchmark["candidates"], benchmark["differences"]
        by_subject = benchmark["subjects"], benchmark["subject_differences"]
        parts = [(category, *own) for category in benchmark["categories"]]
        parts += [(s, *by_subject) for s in next(iter(benchmark["subjects"].values()), ())]
        for category, scores, changes in parts:
            for candidate in document["candidates"]:
                score = scores.get(candidate["name"], {}).get(category)
                if score is None:
                    continue
                change = changes.get(candidate["name"], {}).get(category)
                yield {
                    "benchmark": name,
                    "category": category,
                    "candidate": candidate["name"],
                    "kind": candidate["kind"],
                    "base": candidate["base"],
                    **score,
                    **(_difference_cells(change) if change else {}),
                }


def _difference_cells(change: Difference) -> dict[str, object]:
    noise = change["noise"]
    low, high = change["interval"] or (None, None)
    return {
        "difference": change["difference"],
        "difference_stderr": change["stderr"],
        "gained": change["gained"],
        "lost": change["lost"],
        "difference_low": low,
        "difference_high": high,
        "p_value": change["p_value"],
        "family": change["family"],
        "p_corrected": change["p_corrected"],
        "verdict": change["verdict"],
        "detectable": change["detectable"],
        **({"noise_points": noise["points"], "within_noise": noise["within"]} if noise else {}),
    }

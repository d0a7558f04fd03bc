"""A budget in the plan: its names, held against what benchmarks will measure, and its check."""

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.lib.artifacts.graph import Graph
from scripts.lib.benchmarks.held_out.options import HeldOut
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.config.benchmarks import Benchmark
from scripts.lib.config.load import Config
from scripts.lib.config.problems import is_unknown
from scripts.lib.data.records import read_numbered_rows
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.sources import Place, subjects_of
from scripts.lib.questions.categories import AVERAGE, group_subjects

AVERAGE_NAME = "average"
_HELD_OUT = ("perplexity", "stops", "format", "language")


def budget_spec(config: Config) -> dict[str, Any]:
    """Return what a comparison's spec holds of a budget; nothing where there is none."""
    report = config.report
    return {"budget": report.budget, "on_undecided": report.on_undecided} if report.budget else {}


def add_budget(graph: Graph, config: Config) -> str | None:
    """Add the check of the budget, which waits for the report; return its id, None without one."""
    if not config.report.budget:
        return None
    return graph.add(
        "budgets",
        "all",
        {},
        reads={"comparison": graph.artifacts[graph.report].reads["comparison"]},
        knows={"report": graph.report},
    )


def budget_faults(
    config: Config, benchmarks: Mapping[str, Place], sources: LocalSources
) -> Iterator[str]:
    """Yield the measures of a budget that its benchmarks do not have.

    Of tasks in a user's own files, which are known once their code was run, the comparison tells: a
    measure that is not there fails.

    Args:
        config: The configuration.
        benchmarks: Their places.
        sources: The local files.
    """
    for name, margins in config.report.budget.items():
        known = measures_of(config.benchmarks[name], benchmarks[name], sources)
        if known is None:
            continue
        for measure in margins:
            if measure not in known:
                yield f"report.budget.{name}: {is_unknown(measure, 'measure', known)}"


def measures_of(benchmark: Benchmark, place: Place, sources: LocalSources) -> list[str] | None:
    """Return what a benchmark measures, as a budget names it; None where planning cannot tell."""
    category_map = benchmark.category_map()
    match benchmark:
        case HeldOut():
            return [*_HELD_OUT]
        case JudgedPairs():
            return [AVERAGE_NAME, *_categories(sources, benchmark.path, "category")]
        case MultipleChoice():
            return [AVERAGE_NAME, *_categories(sources, benchmark.path, benchmark.category_column)]
        case _ if category_map == "none":
            return [AVERAGE_NAME]
    subjects = [one for one in subjects_of(benchmark, place) if one is not None]
    if not subjects:
        return None
    categories = [one for one in group_subjects(subjects, category_map) if one != AVERAGE]
    more = [one for one in subjects if one not in categories] if len(subjects) > 1 else []
    return [AVERAGE_NAME, *categories, *more]


def _categories(sources: LocalSources, path: str | None, column: str | None) -> list[str]:
    """Return what stands in a column of a user's own rows; nothing without file or column."""
    if path is None or column is None:
        return []
    rows = (row for _, row in read_numbered_rows(sources.locate(path)) if isinstance(row, Mapping))
    found = (row.get(column) for row in rows)
    return sorted({str(one).strip() for one in found if one is not None} - {""})

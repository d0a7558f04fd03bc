"""A user's own multiple-choice files, read and checked at planning: before any job.

Nothing is written here. What fetches them checks them again.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.graph import slug_of_path
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_files import LocalSources, all_columns, column_names
from scripts.lib.plan.questions import Questions, bad_rows, counts
from scripts.lib.questions.bad_rows import Rows, refuse_bad_rows


def questions(benchmark: MultipleChoice, sources: LocalSources) -> Questions:
    """Return what the questions are made of.

    Raises:
        ConfigError: A file or a column is missing, or rows are no questions.
    """
    asked = sources.rows_file(benchmark.path)
    places = {f"test{asked.suffix}": asked}
    check_columns(asked, benchmark.category_column)
    shots_category = None
    if benchmark.shots_path:
        examples = sources.rows_file(benchmark.shots_path)
        check_columns(examples, None)
        places[f"shots{examples.suffix}"] = examples
        if has_column(examples, benchmark.category_column):
            shots_category = benchmark.category_column
    places = dict(sorted(places.items()))
    spec = {
        "source": "path",
        "kind": benchmark.kind,
        "files": {name: sources.sha256(place) for name, place in places.items()},
        "answers": benchmark.answers,
        "category": benchmark.category_column,
        "shots": benchmark.shots,
        "shots_category": shots_category,
        **bad_rows(benchmark),
    }
    counts(sources, spec, lambda: _read(spec, places))
    return Questions(slug=slug_of_path(benchmark.path), spec=spec, places=places)


def _read(spec: Mapping[str, Any], places: Mapping[str, Path]) -> dict[str, Rows[Any]]:
    """Return the rows of the files, which can be put in order."""
    # It reads tables with pyarrow, which a plan of files that were read before does without.
    from scripts.lib.benchmarks.multiple_choice.rows import arrange_choices, read_choices

    found = read_choices(spec, places)
    refuse_bad_rows(spec, found)
    arrange_choices(spec, found)
    return found


def check_columns(place: Path, category: str | None) -> None:
    """Refuse a file of questions without the columns that they need.

    Raises:
        ConfigError: Names those that it lacks and those that it has.
    """
    there = column_names(place)
    if missing_columns(there, category):
        there = all_columns(place)
    if lacking := missing_columns(there, category):
        raise ConfigError(
            f"{place} has no column {', '.join(lacking)}; its columns are {', '.join(there)}"
        )


def has_column(place: Path, column: str | None) -> bool:
    """Tell whether any row of a file of questions has a column; the one that is None is in none.

    Raises:
        ConfigError: when it cannot be read as what its suffix says.
    """
    # Of JSON the first row alone is seen first, which may be a bad one.
    return column is not None and (column in column_names(place) or column in all_columns(place))


def missing_columns(columns: Iterable[str], category: str | None) -> list[str]:
    """Return the columns that a file of questions lacks, in words.

    Args:
        columns: Those that it has.
        category: The column of the category, if the benchmark has one.
    """
    there = set(columns)
    lacking = [name for name in ("question", "answer") if name not in there]
    if "choices" not in there and not {"A", "B"} <= there:
        lacking.append("choices (or A, B, ...)")
    if category and category not in there:
        lacking.append(category)
    return lacking

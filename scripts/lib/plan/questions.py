"""The questions of a benchmark as planning finds them, and what kinds of benchmarks share there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.graph import slugify
from scripts.lib.config.benchmark_options import RowOptions
from scripts.lib.plan.local_files import QUESTION_SUFFIXES, LocalSources
from scripts.lib.questions.bad_rows import FaultOf, Rows, refuse_bad_rows
from scripts.lib.questions.rows import QUESTIONS_FILE, sort_rows


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What a benchmark's questions are made of: all that their artifact needs.

    Attributes:
        slug: Words for it.
        spec: What changes its bytes.
        places: Name of a local file in the spec -> where it is.
        subjects: The subjects, where planning knows them.
    """

    slug: str
    spec: Mapping[str, Any]
    places: Mapping[str, Path] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()


def bad_rows(benchmark: RowOptions) -> dict[str, str]:
    """Return what a spec says of bad rows: nothing where they are refused, as there are none."""
    return {} if benchmark.on_bad_row == "error" else {"on_bad_row": benchmark.on_bad_row}


def one_file(
    sources: LocalSources,
    benchmark: RowOptions,
    kind: str,
    path: str,
    fault: FaultOf,
    settings: Mapping[str, Any] | None = None,
) -> Questions:
    """Return the questions of a kind that is one file of JSON lines, or of one JSON array.

    Args:
        sources: The local files.
        benchmark: Says what becomes of bad rows.
        kind: Its kind.
        path: The file, as the config names it.
        fault: Says what is wrong with a row, or None.
        settings: What *fault* goes by beside the spec.

    Raises:
        ConfigError: The file is missing, or rows are no questions.
    """
    file = sources.rows_file(path, QUESTION_SUFFIXES)
    spec = {
        "source": "path",
        "kind": kind,
        "files": {QUESTIONS_FILE: sources.sha256(file)},
        **bad_rows(benchmark),
    }
    places = {QUESTIONS_FILE: file}
    counts(sources, spec, lambda: sorted_files(places, fault), settings)
    slug = slugify(file.parent.name if file.stem == "questions" else file.stem)
    return Questions(slug=slug, spec=spec, places=places)


def sorted_files(places: Mapping[str, Path], fault: FaultOf) -> dict[str, Rows[Any]]:
    """Return the rows of files of JSON lines, the bad ones apart."""
    return {name: sort_rows(place, fault) for name, place in places.items()}


def counts(
    sources: LocalSources,
    spec: Mapping[str, Any],
    read: Callable[[], Mapping[str, Rows[Any]]],
    settings: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Read every row of a benchmark's files, once for their contents.

    Args:
        sources: Remembers what was found.
        spec: The benchmark's.
        read: Reads the files.
        settings: What the benchmark is told, beside its spec, that decides which rows are good.

    Returns:
        Name of a file -> how many questions it has without those that are left out.

    Raises:
        ConfigError: Lists all rows that are no questions, in all files; or says what else is wrong.
    """

    def check() -> dict[str, int]:
        found = read()
        refuse_bad_rows(spec, found)
        return {name: len(rows.good) for name, rows in found.items()}

    return dict(sources.recall({"questions": spec, "settings": dict(settings or {})}, check))

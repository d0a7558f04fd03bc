"""Pages and files of single questions beside the report's first page, run by run.

    flips/<benchmark>/<run>.html             the questions that flipped
    rows/<benchmark>/<run>.{parquet,csv}     every question, with both answers
    rows/<benchmark>.questions.{parquet,csv} what they say

Each process has one benchmark and run in memory at a time, beside the bases' answers and what was
asked. Held-out conversations and judged pairs have no page: they are not right or wrong, and have
examples in their own sections.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.compare.document import BenchmarkResult, Comparison
from scripts.lib.compare.wording import protocol_words
from scripts.lib.contamination.document import FoundQuestion, found_in
from scripts.lib.data.processes import in_processes
from scripts.lib.questions.categories import AVERAGE, group_subjects
from scripts.lib.report import rows_export
from scripts.lib.report.asked import Asked, AskedQuestion, showing
from scripts.lib.report.flips import (
    FLIPPED,
    LOST,
    Pairing,
    flipped,
    outcomes,
    paired,
    read_answered,
)
from scripts.lib.report.flips_page import FlipsPage, write_page
from scripts.lib.report.manifests import ReportedCandidate

FOLDER = "flips"


@dataclass(frozen=True, kw_only=True)
class RowFolders:
    """Where single answers and questions are, by artifact id.

    Attributes:
        scores: Folders of the scoring jobs.
        categories: Folders of the category scores.
        questions: Folders of the benchmarks; none where texts are left out.
        searches: Folders of the searches for questions in training rows.
    """

    scores: Mapping[str, Path] = field(default_factory=dict)
    categories: Mapping[str, Path] = field(default_factory=dict)
    questions: Mapping[str, Path] = field(default_factory=dict)
    searches: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class FlipsLink:
    """Where the questions that flipped are, seen from the first page.

    Attributes:
        run: Whose they are.
        href: Address of the page.
        lost: How many lost.
        gained: How many gained.
    """

    run: str
    href: str
    lost: int
    gained: int

    @property
    def words(self) -> str:
        """How many were gained and lost."""
        return f"{self.gained:,} gained, {self.lost:,} lost"


def write_drill_down(
    document: Comparison,
    candidates: Sequence[ReportedCandidate],
    questions: Mapping[str, str],
    folders: RowFolders,
    out: Path,
    *,
    texts: bool,
    processes: int = 1,
) -> dict[str, list[FlipsLink]]:
    """Write pages and files of all benchmarks whose answers are at hand.

    Args:
        document: The parsed `comparison.json`.
        candidates: All of them.
        questions: Benchmark -> artifact id of its questions.
        folders: Where what is read lies.
        out: The report's folder.
        texts: Whether prompts, choices and what models said may be shown.
        processes: How many write pages; what they write is the same for any number.

    Returns:
        Benchmark -> its pages, for those that have any.
    """
    named = {one.name: one for one in candidates}
    links: dict[str, list[FlipsLink]] = {}
    for benchmark, view in document["benchmarks"].items():
        runs = [name for name in view["differences"] if benchmark in named[name].categories]
        if not runs:
            continue
        asked = Asked()
        if texts and benchmark in questions:
            place = folders.questions[questions[benchmark]]
            asked = showing(view["protocol"]["kind"]).asked(place, view["protocol"]["shots"])
        (out / FOLDER / benchmark).mkdir(parents=True)
        pairs = [(named[run], named[view["differences"][run][AVERAGE]["base"]]) for run in runs]
        start = partial(
            _Benchmark,
            benchmark,
            view,
            document["contamination"]["candidates"],
            asked,
            folders,
            out,
            texts,
        )
        links[benchmark] = list(in_processes(start, pairs, processes))
        if texts:
            rows_export.write_questions(start().in_order(pairs[0][1]), out, benchmark)
    return links


class _Benchmark:
    """One benchmark, with the answers of its bases; each process that writes pages has its own."""

    def __init__(
        self,
        name: str,
        view: BenchmarkResult,
        contamination: Mapping[str, Any],
        asked: Asked,
        folders: RowFolders,
        out: Path,
        texts: bool,
    ) -> None:
        self._name = name
        self._protocol = view["protocol"]
        self._category_map = view["category_map"]
        self._contamination = contamination
        self._asked = asked
        self._folders = folders
        self._out = out
        self._texts = texts
        self._letters = showing(self._protocol["kind"]).ANSWERS_ARE_LETTERS
        self._bases: dict[str, pa.Table] = {}

    def in_order(self, base: ReportedCandidate) -> Iterator[AskedQuestion]:
        """Yield what was asked of a base."""
        for id_ in self._answers(base).column("question_id").to_pylist():
            if id_ in self._asked.questions:
                yield self._asked.questions[id_]

    def __call__(self, pair: tuple[ReportedCandidate, ReportedCandidate]) -> FlipsLink:
        """Write the page and the files of a run and its base; return where they are."""
        run, base = pair
        if base.name not in self._bases:
            self._bases[base.name] = self._answers(base)
        before = self._bases[base.name]
        found = self._contamination.get(run.name, {}).get(self._name)
        searches = run.searches.get(self._name, ())
        pairing = Pairing(
            categories=self._categories(before),
            found=self._found(searches),
            searched=bool(searches and found and found["known"]),
            letters=self._letters,
            texts=self._texts,
        )
        rows = paired(before, self._answers(run), pairing)
        rows_export.write_rows(rows, self._out, self._name, run.name)
        counts = outcomes(rows)
        files = [f"{self._name}/{run.name}", *([f"{self._name}.questions"] if self._texts else [])]
        page = FlipsPage(
            benchmark=self._name,
            base=base.name,
            run=run.name,
            protocol=protocol_words(self._protocol),
            outcomes=counts,
            files={
                f"{name}.{form}": f"../../{rows_export.FOLDER}/{name}.{form}"
                for name in files
                for form in ("parquet", "csv")
            },
        )
        href = f"{FOLDER}/{self._name}/{run.name}.html"
        write_page(page, flipped(rows), self._asked, self._out / href)
        lost = sum(counts.get(one, 0) for one in LOST)
        flips = sum(counts.get(one, 0) for one in FLIPPED)
        return FlipsLink(run.name, href, lost, flips - lost)

    def _answers(self, candidate: ReportedCandidate) -> pa.Table:
        categories = self._folders.categories[candidate.categories[self._name]]
        scores = [self._folders.scores[id_] for id_ in candidate.scores[self._name]]
        return read_answered(categories, scores, self._name)

    def _categories(self, answers: pa.Table) -> dict[str, str]:
        subjects = set(answers.column("subject").to_pylist())
        grouped = group_subjects(subjects, self._category_map)
        return {
            subject: category
            for category, members in grouped.items()
            if category != AVERAGE
            for subject in members
        }

    def _found(self, searches: Sequence[str]) -> dict[str, FoundQuestion]:
        """Return the questions that stand in any of the training splits that were searched."""
        return {
            id_: question
            for search in searches
            for id_, question in found_in(self._folders.searches[search], "train").items()
        }

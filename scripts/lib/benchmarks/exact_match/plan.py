"""The questions of an exact-match benchmark, read and checked at planning: before any job."""

from functools import partial

from scripts.lib.benchmarks.exact_match.numbers import expected_fault
from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.exact_match.rows import answer_fault
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.questions import Questions, one_file
from scripts.lib.questions.bad_rows import NO_NUMBER, Fault
from scripts.lib.questions.rows import Row


def questions(benchmark: ExactMatch, sources: LocalSources) -> Questions:
    """Return what the questions are made of.

    Raises:
        ConfigError: The file is missing, or rows are no questions.
    """
    fault = partial(_fault, chat_template=benchmark.chat_template, metric=benchmark.metric)
    settings = benchmark.model_dump(include={"chat_template", "metric"})
    return one_file(sources, benchmark, benchmark.kind, benchmark.path, fault, settings)


def _fault(row: Row, *, chat_template: bool, metric: str) -> Fault | None:
    """Say what is wrong with a row for a benchmark with these settings, or return None."""
    if fault := answer_fault(row, chat_template=chat_template):
        return fault
    text = expected_fault(metric, row["answer"])
    return Fault(NO_NUMBER, text) if text else None

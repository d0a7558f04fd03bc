"""The questions of an exact-match benchmark, read and checked at planning: before any job."""

import itertools

from scripts.lib.benchmarks.exact_match.numbers import expected_fault
from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.exact_match.rows import answer_fault
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.questions import Questions, one_file
from scripts.lib.questions.bad_rows import NO_NUMBER, Fault, FaultOf
from scripts.lib.questions.rows import Row


def questions(benchmark: ExactMatch, sources: LocalSources) -> Questions:
    """Return what the questions are made of.

    Raises:
        ConfigError: The file is missing, or rows are no questions.
    """
    settings = benchmark.model_dump(include={"chat_template", "metric", "limit"})
    return one_file(sources, benchmark, benchmark.kind, benchmark.path, _fault(benchmark), settings)


def _fault(benchmark: ExactMatch) -> FaultOf:
    """Return what says what is wrong with each row of the file, asked in order."""
    asked = itertools.count(1)

    def fault(row: Row) -> Fault | None:
        if wrong := answer_fault(row, chat_template=benchmark.chat_template):
            return wrong
        # Only answers to the first questions are compared; the others need no number.
        if benchmark.limit is not None and next(asked) > benchmark.limit:
            return None
        text = expected_fault(benchmark.metric, row["answer"])
        return Fault(NO_NUMBER, text) if text else None

    return fault

"""The questions of an exact-match benchmark, read and checked at planning: before any job."""

from functools import partial

from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.exact_match.rows import answer_fault
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.questions import Questions, one_file


def questions(benchmark: ExactMatch, sources: LocalSources) -> Questions:
    """Return what the questions are made of.

    Raises:
        ConfigError: The file is missing, or rows are no questions.
    """
    chat = benchmark.chat_template
    fault = partial(answer_fault, chat_template=chat)
    return one_file(sources, benchmark, benchmark.kind, benchmark.path, fault, chat_template=chat)

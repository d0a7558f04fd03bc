"""The prompts of judged pairs, read and checked at planning: before any job."""

from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.judge.faults import prompt_fault
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.questions import Questions, one_file


def questions(benchmark: JudgedPairs, sources: LocalSources) -> Questions:
    """Return what the prompts of a file are made of.

    Raises:
        ConfigError: The file is missing, or rows are no prompts.
    """
    assert benchmark.path is not None  # else a dataset holds the prompts
    return one_file(sources, benchmark, benchmark.kind, benchmark.path, prompt_fault)

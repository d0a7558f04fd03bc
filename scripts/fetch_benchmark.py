"""Bring the questions of one benchmark into results/.

Reads   a hub dataset at a commit, a local folder in MMLU's layout, or a file of questions
Writes  <artifact>/{dev,test}/<subject>.jsonl  or <artifact>/questions.jsonl

Try it  python -m scripts.fetch_benchmark --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return fetch_benchmark(job.spec, job.sources, job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("fetch_benchmark", work, argv)


if __name__ == "__main__":
    main()

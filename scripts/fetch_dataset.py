"""Bring one raw dataset into results/.

Reads   a hub dataset at a commit, or local files
Writes  <artifact>/{train,valid,test}.*  rows as published, untouched

Try it  python -m scripts.fetch_dataset --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.fetch.datasets import fetch_dataset
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return fetch_dataset(job.spec, job.sources, job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("fetch_dataset", work, argv)


if __name__ == "__main__":
    main()

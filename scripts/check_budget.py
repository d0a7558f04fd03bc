"""Refuse a comparison whose fine-tunes do not keep the budget of the configuration.

Reads   comparisons/<comparison>; the report's manifest, so that it stands first
Writes  <artifact>/budget.json  margins, differences, intervals and verdicts of what was kept

Try it  python -m scripts.check_budget --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.compare.budget import check_budget
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return dict(check_budget(job.folder("comparison"), job.out))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("check_budget", work, argv)


if __name__ == "__main__":
    main()

"""Find the questions of a benchmark in the conversations of a dataset.

Reads   chat/<dataset>, benchmarks/<benchmark> (or the held-out split of another chat/<dataset>)
Writes  <artifact>/questions.parquet      the questions that stand there: how, how much, where
        <artifact>/conversations.parquet  the conversations that hold one
        <artifact>/summary.json           counts, method and a few examples

Try it  python -m scripts.find_contamination --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.contamination.finding import ContaminationSpec, find_contamination
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    spec = ContaminationSpec(**job.spec)
    facts = find_contamination(spec, job.folder("benchmark"), job.folder("chat"), job.out)
    found = facts["contamination"]
    print(
        f"{found['found']['train']:,} of {found['questions']:,} questions stand in"
        f" {found['holding']['train']:,} of {found['conversations']['train']:,} training"
        " conversations",
        flush=True,
    )
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("find_contamination", work, argv, inputs=("chat", "benchmark"))


if __name__ == "__main__":
    main()

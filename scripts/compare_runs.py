"""Set every tuned model beside its base, category by category, on the same questions.

Reads   categories/ of all candidates; contamination/ of what they were trained on; the manifests
        of what all was made from
Writes  <artifact>/comparison.json  everything; <artifact>/comparison.csv the same as long rows
        <artifact>/comparison.md    the tables that people read

Try it  python -m scripts.compare_runs --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    spec, folders = CompareSpec.from_json(job.spec), job.named("categories")
    # That what was counted are the scores at hand, only manifests say: no score is read.
    edges = ("chain", "categories", "searches")
    manifests = {id_: one for edge in edges for id_, one in job.manifests(edge).items()}
    return compare_runs(spec, folders, manifests, job.out, job.named("searches"))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("compare_runs", work, argv)


if __name__ == "__main__":
    main()

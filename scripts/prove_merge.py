"""Prove that a merged model computes what base and adapter compute together.

Reads   models/<model>, adapters/<adapter>, merged/<model>
Writes  <artifact>/proof.json  checks with values and thresholds; scores wait for it

Try it  python -m scripts.prove_merge --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.merge.proving import prove_merge


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return prove_merge(
        job.folder("model"),
        job.folder("adapter"),
        job.folder("merged"),
        job.out,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job(
        "prove_merge", work, argv, inputs=("model", "adapter", "merged"), options={"threads": 1}
    )


if __name__ == "__main__":
    main()

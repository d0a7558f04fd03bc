"""Sum up the scores of one candidate on one benchmark by category.

Reads   scores/<...>  all scoring jobs of the candidate and the benchmark
Writes  <artifact>/<benchmark>.<category>.json  n, correct, accuracy, standard error, subjects,
        protocol, hashes of prompts, model and questions, versions of libraries;
        <benchmark>.held_out.json where a dataset's held-out conversations were asked

Try it  python -m scripts.aggregate_scores --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.aggregation import AggregateSpec, aggregate_scores
from scripts.lib.held_out import aggregate_held_out
from scripts.lib.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    scores = job.inputs["scores"]
    if job.spec["categories"] == "held_out":
        return aggregate_held_out(job.spec["benchmark"], scores, job.out)
    return aggregate_scores(AggregateSpec.from_json(job.spec), scores, job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("aggregate_scores", work, argv)


if __name__ == "__main__":
    main()

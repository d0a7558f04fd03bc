"""Sum up the scores of one candidate on one benchmark by category.

Reads   scores/<...>  all scoring jobs of the candidate and the benchmark, or the judgements of its
        answers
Writes  <artifact>/<benchmark>.<category>.json  n, correct, accuracy, standard error, subjects,
        protocol, hashes of prompts, model and questions, versions of libraries;
        <benchmark>.answers.parquet  the score of every answer behind these
        <benchmark>.held_out.json where a dataset's held-out conversations were asked;
        <benchmark>.judged.json where a judge compared answers: wins, losses, ties, win rate

Try it  python -m scripts.aggregate_scores --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.benchmarks import kinds
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    module = kinds.load("aggregate_scores", job.spec["kind"])
    facts: dict[str, Any] = module.aggregate(job.spec, job.inputs, job.out)
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("aggregate_scores", work, argv)


if __name__ == "__main__":
    main()

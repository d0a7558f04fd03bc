"""Sum up the scores of one candidate on one benchmark by category.

Reads   scores/<...>  all scoring jobs of the candidate and the benchmark, or the judgements of its
        answers
Writes  <artifact>/<benchmark>.<category>.json  n, correct, accuracy, standard error, subjects,
        protocol, hashes of prompts, model and questions, versions of libraries;
        <benchmark>.held_out.json where a dataset's held-out conversations were asked;
        <benchmark>.judged.json where a judge compared answers: wins, losses, ties, win rate

Try it  python -m scripts.aggregate_scores --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.aggregation import AggregateSpec, aggregate_scores
from scripts.lib.held_out import aggregate_held_out
from scripts.lib.job import Job, run_job
from scripts.lib.judged_scores import sum_up_judgements


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    if job.spec["categories"] == "held_out":
        return aggregate_held_out(job.spec["benchmark"], job.inputs["scores"], job.out)
    spec = AggregateSpec.from_json(job.spec)
    if "judgements" in job.inputs:
        return sum_up_judgements(spec.benchmark, job.folder("judgements"), job.out)
    return aggregate_scores(spec, job.inputs["scores"], job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("aggregate_scores", work, argv)


if __name__ == "__main__":
    main()

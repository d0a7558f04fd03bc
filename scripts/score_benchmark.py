"""Score one candidate on a set of subjects of one benchmark.

Reads   models/<model> or merged/<model>, benchmarks/<benchmark>; the adapter (from the plan) of a
        candidate that is not merged
Writes  <artifact>/questions.parquet  one row per question: prediction, answer, log-probabilities
        <artifact>/protocol.json      how the questions were asked
        <artifact>/provenance.json    contents of model and questions, versions of libraries

Try it  python -m scripts.score_benchmark --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.device import check_gpus
from scripts.lib.job import Job, run_job
from scripts.lib.provenance import write_provenance
from scripts.lib.score_spec import ScoreSpec
from scripts.lib.scoring import score_benchmark


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    check_gpus(job.options.gpus)
    # First, while it costs nothing: a manifest that cannot be read is an error before the model.
    made_of = {
        edge: manifest["content"]
        for edge in ("model", "adapter", "benchmark")
        for manifest in job.manifests(edge).values()
    }
    write_provenance(made_of, job.pins, job.out)
    return score_benchmark(
        ScoreSpec.from_json(job.spec),
        job.folder("model"),
        job.folder("benchmark"),
        job.out,
        batch_size=job.options.score_batch,
        scratch=job.scratch,
        adapter=next(iter(job.named("adapter").values()), None),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job(
        "score_benchmark",
        work,
        argv,
        inputs=("model", "benchmark"),
        options={"threads": 1, "score_batch": 8, "gpus": 0},
    )


if __name__ == "__main__":
    main()

"""Score one candidate on subjects of one benchmark.

Reads   models/<model> or merged/<model>, benchmarks/<benchmark>; the adapter (from the plan) of a
        candidate that is not merged
Writes  for each subject, once it is answered:
        <artifact>/questions.parquet  one row per question: prediction, answer, log-probabilities
        <artifact>/protocol.json      how the questions were asked
        <artifact>/provenance.json    contents of model and questions, versions of libraries

Try it  python -m scripts.score_benchmark --help
"""

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_batch
from scripts.lib.machine.device import check_gpus
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.score.scoring import Part, score_benchmark, write_provenance


def work(jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
    """Fill the folders of a batch one after the other and yield the facts of each."""
    first = jobs[0]
    check_gpus(first.options.gpus)
    # First, while it costs nothing: a manifest that cannot be read is an error before the model.
    made_of = {
        edge: manifest["content"]
        for edge in ("model", "adapter", "benchmark")
        for manifest in first.manifests(edge).values()
    }
    facts = score_benchmark(
        [Part(ScoreSpec.from_json(job.spec), job.out, job.scratch) for job in jobs],
        first.folder("model"),
        first.folder("benchmark"),
        batch_size=first.options.score_batch,
        adapter=next(iter(first.named("adapter").values()), None),
    )
    for job, found in zip(jobs, facts, strict=True):
        write_provenance(made_of, job.pins, job.out)
        yield found


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the batch."""
    run_batch(
        "score_benchmark",
        work,
        argv,
        inputs=("model", "benchmark"),
        options={"threads": 1, "score_batch": 0, "gpus": 0},
    )


if __name__ == "__main__":
    main()

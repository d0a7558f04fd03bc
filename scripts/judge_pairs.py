"""Let a local model judge the answers of a base model and of what was tuned from it.

Reads   scores/<...> of both, benchmarks/<benchmark>, models/<model> of the judge
Writes  <artifact>/judgements.parquet  one row per prompt: both answers, the reply in either order
        <artifact>/protocol.json       who judged, and how the answers were made

Try it  python -m scripts.judge_pairs --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.judge.files import load_pairs, write_judgements
from scripts.lib.judge.local import JudgeSpec, judge_locally
from scripts.lib.machine.device import check_gpus


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    check_gpus(job.options.gpus)
    base, run, benchmark = (job.folder(name) for name in ("base", "run", "benchmark"))
    pairs = load_pairs(base, run, benchmark)
    spec = JudgeSpec(**job.spec)
    replies = judge_locally(
        spec,
        pairs,
        job.folder("judge"),
        batch_size=job.options.score_batch,
        scratch=job.scratch,
    )
    judge = {"kind": "local", "criteria": spec.criteria, "dtype": spec.dtype}
    return write_judgements(pairs, replies, judge, base, run, job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job(
        "judge_pairs",
        work,
        argv,
        inputs=("benchmark", "judge"),
        options={"threads": 1, "score_batch": 0, "gpus": 0},
    )


if __name__ == "__main__":
    main()

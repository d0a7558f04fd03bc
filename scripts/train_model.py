"""Fine-tune all weights of a model on rendered shards.

Reads   models/<model>, shards/<shards>
Writes  <artifact>/  a complete Hugging Face model with the shards' tokenizer and template, and a
        generation config that stops where scoring stops
        <artifact>/history.jsonl   losses by step
        <artifact>/answers.jsonl   what the model answered to held-out rows, if it was asked
        <artifact>/verdict.json    what the loss curves and the answers say, in words

Try it  python -m scripts.train_model --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.machine.device import check_gpus
from scripts.lib.train.full_tuning import FullSpec, train_model
from scripts.lib.train.tracking import Tracking


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    check_gpus(job.options.gpus)
    return train_model(
        FullSpec.from_json(job.spec),
        job.folder("model"),
        job.folder("shards"),
        job.out,
        scratch=job.scratch,
        threads=job.options.threads,
        micro_batch=job.options.micro_batch or None,
        halved=job.options.halved,
        fsdp=bool(job.options.fsdp),
        tracking=Tracking.from_execution(job.execution, job.options.artifact.name),
        evaluation=job.inputs.get("evaluation", ()),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job(
        "train_model",
        work,
        argv,
        inputs=("model", "shards"),
        options={"threads": 1, "micro_batch": 0, "halved": 0, "fsdp": 0, "gpus": 0},
    )


if __name__ == "__main__":
    main()

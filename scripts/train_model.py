"""Fine-tune all weights of a model on rendered shards.

Reads   models/<model>, shards/<shards> ...
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
from scripts.lib.jobs.training import OPTIONS, execution_of
from scripts.lib.machine.device import check_gpus
from scripts.lib.train.full_tuning import FullSpec, train_model


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    check_gpus(job.options.gpus)
    return train_model(
        FullSpec.from_json(job.spec),
        job.folder("model"),
        job.inputs["shards"],
        job.out,
        **execution_of(job),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job(
        "train_model",
        work,
        argv,
        inputs=("model", "shards"),
        options=OPTIONS,
    )


if __name__ == "__main__":
    main()

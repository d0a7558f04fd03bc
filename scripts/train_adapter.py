"""Fine-tune one LoRA adapter on rendered shards.

Reads   models/<model>, shards/<shards> ...; given_adapters/<...> (from the plan) of a run that
        goes on from one
Writes  <artifact>/adapter_model.safetensors  with adapter_config.json and the tokenizer's files
        <artifact>/history.jsonl   losses by step
        <artifact>/answers.jsonl   what the model answered to held-out rows, if it was asked
        <artifact>/verdict.json    what the loss curves and the answers say, in words

Try it  python -m scripts.train_adapter --help
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.jobs.training import OPTIONS, execution_of
from scripts.lib.machine.device import check_gpus
from scripts.lib.train.continuing import with_shape_of
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.spec import TrainSpec


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    check_gpus(job.options.gpus)
    start = next(iter(job.named("start").values()), None)
    mapping = with_shape_of(job.spec, job.execution["lora"], start) if start else job.spec
    spec = TrainSpec.from_json(mapping)
    facts = train_adapter(
        spec,
        job.folder("model"),
        job.inputs["shards"],
        job.out,
        start=start,
        **execution_of(job),
    )
    # What the spec leaves to the adapter that was gone on from is told here.
    return {**facts, "lora": asdict(spec.lora)} if start else facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job(
        "train_adapter",
        work,
        argv,
        inputs=("model", "shards"),
        options=OPTIONS,
    )


if __name__ == "__main__":
    main()

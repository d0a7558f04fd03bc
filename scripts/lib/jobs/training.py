"""What the programs that train have in common: their options, and what they tell a training."""

from typing import Any

from scripts.lib.jobs.job import Job
from scripts.lib.train.tracking import Tracking

OPTIONS = {"threads": 1, "micro_batch": 0, "halved": 0, "fsdp": 0, "gpus": 0}
"""On the command line; none changes a byte, and 0 leaves the choice to the training."""


def execution_of(job: Job) -> dict[str, Any]:
    """Return how a job trains, as keyword arguments of `train_adapter` and `train_model`."""
    return {
        "scratch": job.scratch,
        "threads": job.options.threads,
        "micro_batch": job.options.micro_batch or None,
        "halved": job.options.halved,
        "fsdp": bool(job.options.fsdp),
        "tracking": Tracking.from_execution(job.execution, job.options.artifact.name),
        "evaluation": job.inputs.get("evaluation", ()),
    }

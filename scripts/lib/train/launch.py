"""How a fine-tune is spread: over processes on GPUs and nodes, and over passes within a step."""

import os
from collections.abc import Mapping

from scripts.lib.errors import TrainingError
from scripts.lib.train.faults import batch_fault

# Tokens per micro batch, unless the profile says otherwise: more fills the matrix units no better
# (CPU), or is what 24 GB hold beside a model of 8B parameters in 16 bits (GPU).
MICRO_BATCH_TOKENS: Mapping[str, int] = {"cpu": 2048, "cuda": 8192}


def launcher(gpus: int, tasks: int) -> str:
    """Return what stands before `-m scripts.train_adapter`.

    Args:
        gpus: GPUs of the job (the resource `gpu`).
        tasks: Slurm tasks of the job (the resource `tasks`): one process each, spread over the
            nodes as sbatch was told. 1 means that no step of its own is started.
    """
    if tasks > 1:
        return f"srun --ntasks={tasks} --kill-on-bad-exit=1 python"
    if gpus > 1:
        return f"python -m torch.distributed.run --standalone --nproc-per-node={gpus}"
    return "python"


def slurm_ranks(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that torch.distributed reads, for one task of several of a Slurm step.

    Rank 0 is on the node where srun was called, so its address is the meeting point; the port
    follows from the job's number, so that two jobs on one node do not meet.

    Source: srun(1), "output environment variables"; accelerate and torch read the names returned.
    """
    world = int(environ.get("SLURM_NTASKS", "1"))
    if "RANK" in environ or world == 1 or "SLURM_PROCID" not in environ:
        return {}
    return {
        "RANK": environ["SLURM_PROCID"],
        "LOCAL_RANK": environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": environ["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(20_000 + int(environ["SLURM_JOB_ID"]) % 20_000),
    }


def world_size() -> int:
    """Return the number of training processes, as torchrun or `slurm_ranks` set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def default_micro_batch(max_length_tokens: int, per_process: int, device: str) -> int:
    """Return the largest divisor of *per_process* whose rows fit into MICRO_BATCH_TOKENS."""
    budget = max(1, MICRO_BATCH_TOKENS[device] // max_length_tokens)
    return max(n for n in range(1, per_process + 1) if per_process % n == 0 and n <= budget)


def smaller_micro_batch(size: int, per_process: int, cause: str) -> int:
    """Return the largest divisor of *per_process* up to half of *size*.

    Raises:
        TrainingError: If *size* is one already, or several processes would have to agree.
    """
    if size == 1 or world_size() > 1:
        raise TrainingError(
            f"memory ran out with {size} sequence(s) per pass ({cause}). Give the job more memory,"
            " or lower micro_batch (more than one process cannot agree on it by themselves),"
            " max_length_tokens, or use quantization: nf4."
        )
    return max(n for n in range(1, size // 2 + 1) if per_process % n == 0)


def check_batch(batch_size: int, micro_batch: int) -> None:
    """Refuse a global batch that micro batch and processes do not divide.

    Raises:
        TrainingError: If they do not.
    """
    if fault := batch_fault(batch_size, micro_batch, world_size()):
        raise TrainingError(f"{fault}.")

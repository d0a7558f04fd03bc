"""How the sequences of an optimiser step are shared out: to processes, and to passes of each."""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from scripts.lib.errors import TrainingError
from scripts.lib.train.faults import batch_fault

# Tokens per micro batch, unless the profile says otherwise: more fills the matrix units no better
# (CPU), or is what 24 GB hold beside a model of 8B parameters in 16 bits (GPU).
MICRO_BATCH_TOKENS: Mapping[str, int] = {"cpu": 2048, "cuda": 8192}

OUT_OF_MEMORY = 211
"""Exit status of a process whose memory ran out while others train with it.

It is above 128 + 64, and so above the status of whatever a signal ended: where several tasks of a
Slurm step fail, srun returns the highest."""


def world_size() -> int:
    """Return the number of training processes, as torchrun set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def threads_of_each(threads: int) -> int:
    """Return the CPU threads of one process, where those of a node share *threads*."""
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def default_micro_batch(max_length_tokens: int, per_process: int, device: str) -> int:
    """Return the largest divisor of *per_process* whose rows fit into MICRO_BATCH_TOKENS."""
    budget = max(1, MICRO_BATCH_TOKENS[device] // max_length_tokens)
    return max(n for n in range(1, per_process + 1) if per_process % n == 0 and n <= budget)


def smaller_micro_batch(size: int, per_process: int, cause: str) -> int:
    """Return the largest divisor of *per_process* up to half of *size*.

    Raises:
        TrainingError: If *size* is one already.
    """
    if size == 1:
        raise TrainingError(
            f"memory ran out with 1 sequence per pass ({cause}). Give the job more memory or, where"
            " it has several GPUs, share the model out among them (the resource fsdp=1); or lower"
            " max_length_tokens, or train an adapter on a quantised base (quantization: nf4)."
        )
    return max(n for n in range(1, size // 2 + 1) if per_process % n == 0)


def halved_micro_batch(size: int, per_process: int, times: int) -> int:
    """Return the micro batch after memory ran out so many times; see `smaller_micro_batch`."""
    for _ in range(times):
        size = smaller_micro_batch(size, per_process, "as in the starts before this one")
    return size


def end_all(size: int, cause: str) -> NoReturn:
    """End this process of several, at once, so that the launcher starts all with less.

    The others wait for it and cannot be asked. They see it go only after its status is told.
    """
    rank = os.environ.get("RANK", "0")
    print(
        f"memory ran out in process {rank} with {size} sequences per pass ({cause})",
        file=sys.stderr,
        flush=True,
    )
    os._exit(OUT_OF_MEMORY)


def check_batch(batch_size: int, micro_batch: int) -> None:
    """Refuse a global batch that micro batch and processes do not divide.

    Raises:
        TrainingError: If they do not.
    """
    if fault := batch_fault(batch_size, micro_batch, world_size()):
        raise TrainingError(f"{fault}.")

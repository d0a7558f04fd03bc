"""How the sequences of an optimiser step are shared out: to processes, and to passes of each.

None of it changes what is learnt but for last digits, so a machine takes what suits it: as many
sequences in a pass as its memory holds, and activations kept or recomputed.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from scripts.lib.errors import TrainingError
from scripts.lib.train.faults import batch_fault

# Tokens per micro batch where nothing is known of memory: more fills the matrix units no better
# (CPU), or is what 24 GB hold beside a model of 8B parameters in 16 bits (GPU). Padded rows take no
# more on any card: the longer the longest of them, the more of a pass is padding.
MICRO_BATCH_TOKENS: Mapping[str, int] = {"cpu": 2048, "cuda": 8192}

# More in one pass make no card faster, and kernels count numbers of a tensor in 31 bits.
MOST_TOKENS = 65536

# Fewer in one pass leave a device idle. Down to these it costs less to halve a micro batch than to
# recompute activations, which is half as much work again (LoRA; of a full fine-tune a third).
FULL_PASS_TOKENS: Mapping[str, int] = {"cpu": 1, "cuda": 2048}

# Every how many layers one is recomputed, from the least work to the least memory.
HALF = 2
RECOMPUTATIONS = (0, 4, 3, HALF, 1)

OUT_OF_MEMORY = 211
"""Exit status of a process whose memory ran out while others train with it.

It is above 128 + 64, and so above the status of whatever a signal ended: where several tasks of a
Slurm step fail, srun returns the highest."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How a process goes through its sequences of one step.

    Attributes:
        sequences: In one pass (micro batch).
        recomputed: Every how many layers one's activations are computed anew for the backward pass
            instead of kept (activation checkpointing); 0 is never, 1 in all layers.
    """

    sequences: int
    recomputed: int = 0

    def __str__(self) -> str:
        return f"{self.sequences} sequences per pass{self.again}"

    @property
    def again(self) -> str:
        """Which activations are recomputed, to stand behind something; nothing for none."""
        layers = {0: "", 1: "all layers", 2: "every second layer", 3: "every third layer"}
        told = layers.get(self.recomputed, f"every {self.recomputed}th layer")
        return f", activations of {told} recomputed" if told else ""


def divisors(per_process: int) -> list[int]:
    """Return the micro batches that share out the sequences of a process evenly."""
    return [n for n in range(1, per_process + 1) if per_process % n == 0]


def choose_passes(
    sizes: Sequence[int],
    need: Callable[[Passes], int],
    tokens: Callable[[int], int],
    room: int,
    *,
    most: int = MOST_TOKENS,
) -> Passes:
    """Return the fastest way that fits into memory, or the smallest where none does.

    That is the one with least recomputed whose pass fills the device, with as many sequences as
    there is room for. Where none fills it, it is the one with most sequences, and nothing is
    recomputed that lets no more of them in.

    Args:
        sizes: Micro batches to choose from.
        need: The bytes that a way takes.
        tokens: Of a pass with so many sequences.
        room: Bytes that there are.
        most: Tokens that a pass may have, if more than one sequence is in it.
    """
    least = min(sizes)
    sizes = [n for n in sizes if n == least or tokens(n) <= most]
    enough = min(tokens(max(sizes)), FULL_PASS_TOKENS["cuda"])
    chosen: Passes | None = None
    for recomputed in RECOMPUTATIONS:
        ways = [Passes(sequences=n, recomputed=recomputed) for n in sorted(sizes)]
        fitting = [way for way in ways if need(way) <= room]
        if fitting and (chosen is None or fitting[-1].sequences > chosen.sequences):
            chosen = fitting[-1]
            if tokens(chosen.sequences) >= enough:
                break
    return chosen or Passes(sequences=least, recomputed=1)


def world_size() -> int:
    """Return the number of training processes, as torchrun set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def threads_of_each(threads: int) -> int:
    """Return the CPU threads of one process, where those of a node share *threads*."""
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def default_micro_batch(max_length_tokens: int, per_process: int, device: str) -> int:
    """Return the largest divisor of *per_process* whose rows fit into MICRO_BATCH_TOKENS."""
    budget = max(1, MICRO_BATCH_TOKENS[device] // max_length_tokens)
    return max(n for n in divisors(per_process) if n <= budget)


def smaller_passes(now: Passes, per_process: int, tokens: int, device: str, cause: str) -> Passes:
    """Return the way that costs least of those that take less memory than one that did not fit.

    Args:
        now: The way that did not fit.
        per_process: Sequences of each process in a step.
        tokens: Of one sequence.
        device: "cpu" or "cuda".
        cause: What the error said.

    Raises:
        TrainingError: If it is the smallest.
    """
    half = max((n for n in divisors(per_process) if n <= now.sequences // 2), default=0)
    fewer = Passes(sequences=half, recomputed=now.recomputed)
    if half and half * tokens >= FULL_PASS_TOKENS[device]:
        return fewer
    if now.recomputed != 1:
        more = 1 if now.recomputed == HALF else HALF
        return Passes(sequences=now.sequences, recomputed=more)
    if half:
        return fewer
    raise TrainingError(
        f"memory ran out with 1 sequence per pass and all activations recomputed ({cause}). Give"
        " the job more memory or, where it has several GPUs, share the model out among them"
        " (the resource fsdp=1); or lower max_length_tokens, or train an adapter on a quantised"
        " base (quantization: nf4)."
    )


def end_all(now: Passes, cause: str) -> NoReturn:
    """End this process of several, at once, so that the launcher starts all with less.

    The others wait for it and cannot be asked. They see it go only after its status is told.
    """
    rank = os.environ.get("RANK", "0")
    print(
        f"memory ran out in process {rank} with {now} ({cause})",
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

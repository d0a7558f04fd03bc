"""How a training goes through a step on this machine: chosen from its card's free memory.

On a CPU a pass is short anyway, and no activation is recomputed.
"""

from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import AutoConfig

from scripts.lib.machine.device import compute_device
from scripts.lib.machine.memory_limits import room_bytes
from scripts.lib.train.attention import SEGMENTS, choose_attention
from scripts.lib.train.callbacks import say
from scripts.lib.train.memory import DEVICE_BYTES, FineTune
from scripts.lib.train.micro_batch import (
    MICRO_BATCH_TOKENS,
    MOST_TOKENS,
    Passes,
    choose_passes,
    default_micro_batch,
    divisors,
    world_size,
)
from scripts.lib.train.model_size import size_of, widths_of
from scripts.lib.train.shards import lengths_of
from scripts.lib.train.tuning import Tuning


def passes_of(
    tuning: Tuning, model: Path, rows: Dataset, micro_batch: int | None, *, sharded: bool
) -> Passes:
    """Return how many sequences go through at once and what is recomputed, and say so.

    Args:
        tuning: What is trained, and how.
        model: Folder of the base.
        rows: The sequences that are trained on.
        micro_batch: Sequences per pass, where that was told.
        sharded: Whether processes share the model out.
    """
    loop, device = tuning.loop, compute_device()
    per_process = loop.batch_size // world_size()
    usual = micro_batch or default_micro_batch(loop.max_length_tokens, per_process, device)
    if device == "cpu":
        return Passes(sequences=usual)
    size = size_of(tuple(sorted(str(file) for file in model.iterdir())))
    if size is None or widths_of(size) is None:  # stored in a form that tells no sizes
        return Passes(sequences=usual, recomputed=1)
    work = FineTune(
        size=size,
        adapter=tuning.adapter_on(size),
        dtype=loop.dtype,
        optimizer=loop.optim,
        quantization=tuning.quantization,
        shares=world_size() if sharded else 1,
    )
    config = AutoConfig.from_pretrained(model)
    exact = choose_attention(config, device, tuning.arithmetic) == SEGMENTS
    # Processes go through a step alike: as the card with least room can, and the one that lacks
    # the kernel.
    told = gather_object([(_room(), exact)])
    room, exact = min(room for room, _ in told), all(exact for _, exact in told)
    flat = loop.packing or exact
    lengths = sorted(lengths_of(rows), reverse=True)
    longest = lengths[0]

    def tokens(sequences: int) -> int:
        return sum(lengths[:sequences]) if flat else sequences * longest

    def need(passes: Passes) -> int:
        return work.memory(tokens(passes.sequences), longest, passes.recomputed).total

    sizes = [micro_batch] if micro_batch else divisors(per_process)
    # The stock attention masks a flat row against itself: the square of its tokens.
    most = MOST_TOKENS if exact else MICRO_BATCH_TOKENS[device]
    chosen = choose_passes(sizes, need, tokens, room, most=most)
    say(
        f"{chosen}: at most about {need(chosen) / 2**30:.1f} GiB, of {room / 2**30:.1f} that are"
        " planned with"
    )
    return chosen


def _room() -> int:
    """Return the bytes of this process's card that a training may plan with."""
    return room_bytes(torch.device("cuda", PartialState().local_process_index)) - DEVICE_BYTES

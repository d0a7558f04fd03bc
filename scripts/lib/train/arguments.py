"""How long, how fast and on what is trained, in the terms of TRL's trainer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl import SFTConfig

from scripts.lib.machine.device import compute_device
from scripts.lib.train.loop import LoopSpec
from scripts.lib.train.micro_batch import Passes, world_size
from scripts.lib.train.optimization import LORAPLUS_LR_EMBEDDING
from scripts.lib.train.schedules import warmup_of
from scripts.lib.train.sharding import FSDP


@dataclass
class Arguments(SFTConfig):  # type: ignore[misc]  # TRL has no types
    """What TRL's trainer is told, and what ours does in its own way.

    Args:
        loraplus_lr_ratio: How much faster than the rest the matrices B learn.
        loraplus_lr_embedding: Rate of adapters of embeddings where that is given.
        noise_alpha: Noise on the embeddings (NEFTune), by the length of each conversation.
        smoothing: Share of the target that is spread over the vocabulary while training.
    """

    loraplus_lr_ratio: float | None = None
    loraplus_lr_embedding: float = LORAPLUS_LR_EMBEDDING
    noise_alpha: float | None = None
    smoothing: float = 0.0


def count_steps(loop: LoopSpec, train_rows: int) -> int:
    """Return the optimiser steps of a whole run over *train_rows* sequences."""
    return loop.max_steps or math.ceil(loop.epochs * _steps_per_epoch(loop, train_rows))


def _steps_per_epoch(loop: LoopSpec, train_rows: int) -> int:
    return math.ceil(train_rows / loop.batch_size)


def training_arguments(
    loop: LoopSpec,
    out: Path,
    passes: Passes,
    *,
    train_rows: int,
    evaluated: bool,
    resumed: bool,
    autocast: bool,
    sharded: bool = False,
) -> Arguments:
    """Return what TRL's trainer is told.

    Args:
        loop: How long, how fast and on what is trained.
        out: Folder for checkpoints.
        passes: Sequences per forward pass and process, and layers that are recomputed.
        train_rows: Sequences of the train split, packed where the loop says so.
        evaluated: Whether there are held-out rows.
        resumed: Whether it goes on from a checkpoint.
        autocast: Whether weights of float32 are computed with in bfloat16.
        sharded: Whether processes share the model out.
    """
    device = compute_device()
    steps = count_steps(loop, train_rows)
    return Arguments(
        output_dir=str(out),
        num_train_epochs=loop.epochs,
        max_steps=loop.max_steps or -1,
        learning_rate=loop.learning_rate,
        lr_scheduler_type=loop.scheduler,
        lr_scheduler_kwargs=dict(loop.lr_scheduler_kwargs) or None,
        warmup_steps=warmup_of(steps, loop.warmup_steps, loop.warmup_ratio),
        optim=loop.optim,
        optim_args=_written(loop.optim_args),
        adam_beta1=loop.adam_beta1,
        adam_beta2=loop.adam_beta2,
        adam_epsilon=loop.adam_epsilon,
        weight_decay=loop.weight_decay,
        loraplus_lr_ratio=loop.loraplus_lr_ratio,
        loraplus_lr_embedding=loop.loraplus_lr_embedding,
        noise_alpha=loop.neftune_noise_alpha,
        smoothing=loop.label_smoothing_factor,
        max_grad_norm=loop.max_grad_norm,
        per_device_train_batch_size=passes.sequences,
        per_device_eval_batch_size=passes.sequences,
        gradient_accumulation_steps=loop.batch_size // (passes.sequences * world_size()),
        # Flat rows waste nothing on padding; on a GPU the stock attention is faster with it, and
        # ours is flat as well (`training`).
        packing=loop.packing,
        padding_free=loop.packing or device == "cpu",
        max_length=loop.max_length_tokens if loop.packing else None,
        dataset_kwargs={"skip_prepare_dataset": True},
        eval_strategy="steps" if evaluated else "no",
        # Evaluations belong to steps, epochs' ends too: one after a checkpoint at the same step
        # would be lost by a resume.
        eval_steps=loop.eval_every_steps or _steps_per_epoch(loop, train_rows),
        eval_on_start=evaluated and not resumed,
        save_strategy="no",
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=loop.seed,
        use_cpu=device == "cpu",
        bf16=autocast,
        activation_checkpointing=passes.recomputed > 0,
        activation_checkpointing_kwargs={"every_n_layers": passes.recomputed}
        if passes.recomputed > 1
        else None,
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,  # each adapter weight takes part in each step
        fsdp=sharded or None,
        fsdp_config=dict(FSDP) if sharded else None,
        report_to=[],
        disable_tqdm=True,
    )


def _written(arguments: Mapping[str, Any]) -> str | None:
    """Return an optimizer's arguments in the one text that transformers reads.

    False is what it does without the argument. Where it has a third way for that (`kahan_sum`), it
    takes any text for true, and only the empty one for false.
    """
    texts = {
        name: ("true" if value else "") if isinstance(value, bool) else str(value)
        for name, value in arguments.items()
        if value is not False or name == "kahan_sum"
    }
    return ",".join(f"{name}={text}" for name, text in texts.items()) or None

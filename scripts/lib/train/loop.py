"""How long, how fast and on what a fine-tune trains, whatever it is that it trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from scripts.lib.errors import TrainingError
from scripts.lib.machine.device import compute_device
from scripts.lib.train.micro_batch import world_size
from scripts.lib.train.optimization import OptimizerName
from scripts.lib.train.schedules import Scheduler


@dataclass(frozen=True, kw_only=True)
class LoopSpec:
    """How long, how fast and on what is trained.

    Args:
        epochs: Passes over the train split; may be a fraction.
        max_steps: Optimiser steps; when given, it overrides epochs.
        learning_rate: Peak of the schedule.
        scheduler: Course of the rate.
        lr_scheduler_kwargs: Its arguments.
        warmup_ratio: Part of the steps over which the rate rises, 0-1.
        warmup_steps: The same in steps; when given, it overrides warmup_ratio.
        optim: Optimizer.
        optim_args: Its arguments.
        adam_beta1: Decay of the mean of gradients.
        adam_beta2: Decay of the mean of squared gradients.
        adam_epsilon: Least divisor of Adam.
        weight_decay: Of weights that are no biases or norms.
        loraplus_lr_ratio: How much faster than the rest the matrices B learn.
        loraplus_lr_embedding: Rate of adapters of embeddings where that is given.
        neftune_noise_alpha: Noise on the embeddings.
        label_smoothing_factor: Share of the target that is spread over the vocabulary.
        max_grad_norm: Where gradients are clipped.
        batch_size: Sequences (packed rows) per optimiser step, over all processes.
        packing: Lay conversations end to end in rows of max_length_tokens, isolated.
        max_length_tokens: Longest row.
        eval_every_steps: None means once per epoch.
        early_stopping_patience: Evaluations without a better valid loss before the run ends and
            the best weights are kept; None trains to the end and keeps the last.
        keep: Weights to keep, where that is said: the last or the best.
        best_by: Set of held-out rows that tells the best.
        evaluate_on: Names of other sets than the run's own, in the order of their shards.
        answers: Held-out rows that the model answers while it trains; 0 is none.
        answer_tokens: Tokens that such an answer may have.
        seed: Of an adapter's start, the order of rows, and dropout.
        dtype: Of the arithmetic, and of weights that are not trained; those that are are float32.
    """

    epochs: float
    max_steps: int | None
    learning_rate: float
    scheduler: Scheduler
    lr_scheduler_kwargs: Mapping[str, Any]
    warmup_ratio: float
    warmup_steps: int | None
    optim: OptimizerName
    optim_args: Mapping[str, Any]
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    weight_decay: float
    loraplus_lr_ratio: float | None
    loraplus_lr_embedding: float
    neftune_noise_alpha: float | None
    label_smoothing_factor: float
    max_grad_norm: float
    batch_size: int
    packing: bool
    max_length_tokens: int
    eval_every_steps: int | None
    early_stopping_patience: int | None
    keep: Literal["last", "best"] | None
    best_by: str
    evaluate_on: Sequence[str]
    answers: int
    answer_tokens: int
    seed: int
    dtype: Literal["float32", "bfloat16"]


def check_one_gpu(rule: str) -> None:
    """Refuse several GPUs that one process sees: TRL would have to share them out in threads.

    Args:
        rule: Whose resources say how many there are.

    Raises:
        TrainingError: If there are.
    """
    if world_size() == 1 and compute_device() == "cuda" and torch.cuda.device_count() > 1:
        raise TrainingError(
            f"{torch.cuda.device_count()} GPUs are visible to one process. Ask for as many"
            f" (--set-resources {rule}:gpu=N), or let CUDA_VISIBLE_DEVICES show one."
        )

"""How a run is trained: how long, how fast, and on what."""

from typing import Literal

from scripts.lib.config.fields import (
    Flag,
    Number,
    PartFraction,
    Positive,
    PositiveNumber,
    Seed,
    Settings,
    setting,
)


class Training(Settings):
    """How the adapter is trained."""

    epochs: PositiveNumber = setting("Passes over the training rows.", "identity", 1.0)
    max_steps: Positive | None = setting(
        "Stop after so many optimiser steps, whatever `epochs` says.", "identity", None
    )
    learning_rate: PositiveNumber = setting("Highest learning rate.", "identity", 2e-4)
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt"] = (
        setting("Course of the learning rate.", "identity", "cosine")
    )
    warmup_ratio: PartFraction = setting(
        "Share of the steps in which the learning rate rises; `constant` has none.",
        "identity",
        0.03,
    )
    weight_decay: Number = setting("Weight decay.", "identity", 0.0)
    max_grad_norm: Number = setting("Clip gradients to this norm; 0 is never.", "identity", 1.0)
    batch_size: Positive = setting(
        "Sequences in an optimiser step, over all devices together.", "identity", 8
    )
    packing: Flag = setting(
        "Put several conversations into one sequence; none sees another.", "identity", True
    )
    max_length_tokens: Positive = setting("Longest sequence, in tokens.", "identity", 1024)
    eval_every_steps: Positive | None = setting(
        "Measure the loss on held-out rows so often; null is once an epoch.", "identity", None
    )
    early_stopping_patience: Positive | None = setting(
        "Stop after so many measurements without a lower held-out loss.", "identity", None
    )
    seed: Seed = setting("Seed of adapter, order and dropout.", "identity", 42)
    dtype: Literal["bfloat16", "float32"] = setting(
        "Precision of the base model while training; a processor that cannot compute in bfloat16"
        " rounds the weights to it and computes in float32.",
        "identity",
        "bfloat16",
    )

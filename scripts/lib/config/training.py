"""How a run is trained: how long, how fast, and on what."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from scripts.lib.config.fields import (
    Count,
    Factor,
    Flag,
    JsonMapping,
    Number,
    PartFraction,
    Positive,
    PositiveNumber,
    Seed,
    Settings,
    Text,
    refusal,
    setting,
)
from scripts.lib.config.sweep import value_text
from scripts.lib.train.optimization import (
    ADAM_DEFAULTS,
    LORAPLUS_LR_EMBEDDING,
    OPTIMIZERS,
    OWN_SET,
    UNUSABLE,
    OptimizerName,
    keeps_best,
    needs_held_out,
)
from scripts.lib.train.schedules import NO_WARMUP, Scheduler, without_warmup


def _usable(value: object) -> object:
    """Say why a known optimizer is none of those to choose from."""
    if isinstance(value, str) and value in UNUSABLE:
        raise refusal(f"{UNUSABLE[value]}; allowed: {', '.join(OPTIMIZERS)}")
    return value


def _number(value: object) -> object:
    """Return text that is a number as that: YAML 1.1 takes `1e-7` for text, as it has no dot."""
    for read in (int, float):
        try:
            return read(value) if isinstance(value, str) else value
        except ValueError:
            continue
    return value


def _arguments(value: object) -> object:
    """Return named arguments with numbers as such; null is none of them."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise refusal("is no mapping from names to values, such as {min_lr: 1e-5}")
    read = {name: _number(one) for name, one in value.items()}
    for name, one in read.items():
        finite = math.isfinite(one) if isinstance(one, int | float) else isinstance(one, str)
        if not finite:
            raise refusal(f"holds {name}, which is no number, text, true or false")
    return read


def _written_arguments(value: object) -> object:
    """Read arguments as transformers has them in one text, too: `momentum=0.9,nesterov=true`."""
    if not isinstance(value, str):
        return _arguments(value)
    pairs = [part.partition("=") for part in value.replace(" ", "").split(",") if part]
    if not all(equals for _, equals, _ in pairs):
        raise refusal("is no mapping, and no text such as momentum=0.9,nesterov=true")
    flags = {"true": True, "false": False}
    return _arguments({name: flags.get(text.lower(), text) for name, _, text in pairs})


ScheduleArguments = Annotated[JsonMapping, BeforeValidator(_arguments)]
OptimizerArguments = Annotated[JsonMapping, BeforeValidator(_written_arguments)]
NONE_GIVEN = JsonMapping()

LORA_LEARNING_RATE = 2e-4
"""Highest rate of an adapter where none is given (QLoRA, https://arxiv.org/abs/2305.14314)."""

FULL_LEARNING_RATE = 2e-5
"""Highest rate of a full fine-tune where none is given: TRL's for SFT, and that of Zephyr's."""

WARMUP_RATIO = 0.03


class Training(Settings):
    """How the adapter, or the whole model, is trained."""

    epochs: PositiveNumber = setting("Passes over the training rows.", "identity", 1.0)
    max_steps: Positive | None = setting(
        "Stop after so many optimiser steps, whatever `epochs` says.", "identity", None
    )
    learning_rate: PositiveNumber | None = setting(
        f"Highest learning rate; null is {value_text(LORA_LEARNING_RATE)} for an adapter, and"
        f" {value_text(FULL_LEARNING_RATE)} where `lora: null` trains all weights.",
        "identity",
        None,
    )
    scheduler: Scheduler = setting(
        "Course of the learning rate, by the names of transformers (`lr_scheduler_type`).",
        "identity",
        "cosine",
    )
    lr_scheduler_kwargs: ScheduleArguments = setting(
        "Arguments of the course, such as `{min_lr: 1e-5}` for `cosine_with_min_lr`"
        " (docs/training.md).",
        "identity",
        NONE_GIVEN,
        allowed="a mapping from the course's arguments to their values",
    )
    warmup_ratio: PartFraction = setting(
        "Share of the steps in which the learning rate rises; `constant`, `reduce_lr_on_plateau`"
        " and `greedy` have none.",
        "identity",
        WARMUP_RATIO,
    )
    warmup_steps: Count | None = setting(
        "Steps in which the learning rate rises, in place of `warmup_ratio`.", "identity", None
    )
    optim: Annotated[OptimizerName, BeforeValidator(_usable)] = setting(
        "Optimizer, by the names of transformers. Some need a package that is not installed with"
        " the rest (docs/training.md).",
        "identity",
        "adamw_torch_fused",
    )
    optim_args: OptimizerArguments = setting(
        "Arguments of the optimizer that have no key of their own, such as `{momentum: 0.9}` for"
        " `sgd`.",
        "identity",
        NONE_GIVEN,
        allowed="a mapping from the optimizer's arguments to their values",
    )
    adam_beta1: PartFraction = setting(
        "Decay of the mean of gradients, of Adam and its kin.",
        "identity",
        ADAM_DEFAULTS["adam_beta1"],
    )
    adam_beta2: PartFraction = setting(
        "Decay of the mean of squared gradients, of Adam and its kin.",
        "identity",
        ADAM_DEFAULTS["adam_beta2"],
    )
    adam_epsilon: PositiveNumber = setting(
        "Least divisor of Adam and its kin.", "identity", ADAM_DEFAULTS["adam_epsilon"]
    )
    weight_decay: Number = setting("Weight decay.", "identity", 0.0)
    loraplus_lr_ratio: Factor | None = setting(
        "LoRA+: the matrices B learn at so many times `learning_rate`.", "identity", None
    )
    loraplus_lr_embedding: PositiveNumber = setting(
        "LoRA+: the learning rate of adapters of embeddings.", "identity", LORAPLUS_LR_EMBEDDING
    )
    neftune_noise_alpha: PositiveNumber | None = setting(
        "NEFTune: noise on the embeddings while training, scaled by the length of each"
        " conversation; 5 is usual.",
        "identity",
        None,
    )
    label_smoothing_factor: PartFraction = setting(
        "Share of the target that is spread over the whole vocabulary while training; held-out"
        " losses are measured without.",
        "identity",
        0.0,
    )
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
    keep: Literal["last", "best"] | None = setting(
        "Weights to keep: those of the last step, or of the measurement with the lowest held-out"
        " loss; null is the best with `early_stopping_patience`, else the last.",
        "identity",
        None,
    )
    best_by: Text = setting(
        "Held-out rows that tell which measurement is the best: `valid`, the run's own, or a name"
        " under `evaluate_on`.",
        "identity",
        OWN_SET,
    )
    answers: Count = setting(
        "Held-out rows that the model answers at the end, and at some evaluations where that takes"
        " little beside the training; kept in `answers.jsonl`, and looked at by the verdict; 0 is"
        " none.",
        "identity",
        8,
    )
    answer_tokens: Positive = setting(
        "Longest such answer, in tokens; it is also cut a quarter behind the longest reference.",
        "identity",
        64,
    )
    seed: Seed = setting("Seed of adapter, order and dropout.", "identity", 42)
    dtype: Literal["bfloat16", "float32"] = setting(
        "Precision of the base model while training; a processor that cannot compute in bfloat16"
        " rounds the weights to it and computes in float32.",
        "identity",
        "bfloat16",
    )

    @property
    def kept(self) -> Literal["last", "best"]:
        """Which weights are kept: what is said, or what follows from the patience."""
        return "best" if keeps_best(vars(self)) else "last"

    def watching(self) -> list[str]:
        """Return the settings that follow the loss on held-out rows."""
        return needs_held_out(vars(self))

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        if self.warmup_steps is not None and "warmup_ratio" in self.model_fields_set:
            raise refusal("and warmup_steps say the same in two ways; keep one", "warmup_ratio")
        unused = self.scheduler in NO_WARMUP and not self.optim.startswith("schedule_free")
        if unused and self.warmup_ratio not in (0, WARMUP_RATIO):
            raise refusal(without_warmup(self.scheduler), "warmup_ratio")
        return self

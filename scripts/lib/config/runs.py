"""The runs that a configuration can ask for: one fine-tune each, or a grid of them."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scripts.lib.config.fields import (
    TEMPLATES,
    Factor,
    Flag,
    HubName,
    Number,
    PartFraction,
    Positive,
    PositiveNumber,
    Seed,
    Settings,
    TemplateChoice,
    Text,
    group,
    setting,
)
from scripts.lib.data.conversation import PlainAnswers, TrainOn, Turns
from scripts.lib.lora import Bias, Init


def _sorted_modules(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Sort module names: their order changes nothing, so it must not change the identity."""
    return value if isinstance(value, str) else tuple(sorted(set(value)))


TargetModules = Annotated[
    Literal["all-linear"] | Annotated[tuple[Text, ...], Field(min_length=1)],
    AfterValidator(_sorted_modules),
]


class Lora(Settings):
    """The shape of the adapter."""

    r: Positive = setting("Rank.", "identity", 16)
    alpha: Positive = setting("Scale; the update is multiplied by alpha / r.", "identity", 32)
    dropout: PartFraction = setting("Dropout before the adapter.", "identity", 0.05)
    bias: Bias = setting("Biases to train.", "identity", "none")
    target_modules: TargetModules = setting(
        "Layers that get an adapter; `all-linear` is every linear layer but the output.",
        "identity",
        "all-linear",
        allowed="`all-linear`, or a list of module names",
    )
    use_rslora: Flag = setting("Scale by alpha / sqrt(r) instead (rsLoRA).", "identity", False)
    use_dora: Flag = setting("Train the magnitudes of the weights too (DoRA).", "identity", False)
    init: Init = setting(
        "First weights of the adapter; true is PEFT's own choice.", "identity", True
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


class Publish(Settings):
    """The repository that the target `publish` pushes a merged model to."""

    repo_id: HubName | None = setting(
        "Repository of the merged model on the hub, or null. Only the target `publish` pushes.",
        "execution",
        None,
        allowed="OWNER/NAME, or null",
    )
    private: Flag = setting(
        "Make the repository private, where it is not there yet.", "execution", True
    )
    revision: Text | None = setting("Branch to push to; null is the main one.", "execution", None)


class Run(Settings):
    """One fine-tune."""

    model: Text = setting("Model to tune.", "identity", allowed="a name under `models`")
    dataset: Text = setting("Dataset to tune on.", "identity", allowed="a name under `datasets`")
    template: TemplateChoice | None = setting(
        "Chat template: the tokenizer's own, ChatML, TRL's for training (the tokenizer's is then"
        " shipped and asked through), or a file; null is what the model's `template` says. Control"
        " tokens of one that is not the tokenizer's own are added where it lacks them"
        " (docs/base_models.md).",
        "identity",
        None,
        allowed=f"{TEMPLATES}, or null",
    )
    train_on: TrainOn = setting("Tokens that count in the loss.", "identity", "assistant")
    turns: Turns = setting(
        "Whether a conversation is one sequence (`together`), or each trained turn is one, as the"
        " model is asked for it (`each`); `auto` takes one where the template leaves earlier turns"
        " as they were when they were the last.",
        "identity",
        "auto",
    )
    plain_answers: PlainAnswers | None = setting(
        "What becomes of an answer without reasoning where the template knows of reasoning: as the"
        " template writes it, behind an empty one, or dropped; null is `close_empty` where the"
        " generation prompt opens a reasoning, else `as_template`.",
        "identity",
        None,
    )
    fold_reasoning: Flag = setting(
        "Write reasoning that rows have under a key of its own into the answer, between `<think>`"
        " and `</think>`, where the template writes none; else such conversations are dropped.",
        "identity",
        False,
    )
    max_growth: Factor = setting(
        "Stop before training when conversations whose turns are sequences of their own make the"
        " tokens of the dataset grow by more than this factor.",
        "gate",
        10.0,
    )
    on_too_long: Literal["drop", "truncate"] = setting(
        "What happens to sequences of more than `max_length_tokens`.", "identity", "drop"
    )
    lora: Lora = group("The shape of the adapter.", Lora)
    quantization: Literal["nf4"] | None = setting(
        "Quantise the base model while training (QLoRA).", "identity", None
    )
    training: Training = group("How the adapter is trained.", Training)
    on_verdict: Literal["report", "stop"] = setting(
        "What follows when the loss curve looks unhealthy: go on and report it, or do not merge.",
        "gate",
        "report",
    )
    merge: Flag = setting(
        "Merge the adapter into the model and prove it; false scores model and adapter as they"
        " are, for a quick look.",
        "identity",
        True,
    )
    keep_merged: Flag = setting(
        "Keep the merged model after its proof and scores are there.", "execution", True
    )
    publish: Publish = group("Where the merged model is published.", Publish)


Scalar = (
    Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True)]
    | Annotated[float, Field(strict=True)]
    | Annotated[str, Field(strict=True)]
    | None
)
Grid = Mapping[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]]


class RunEntry(Run):
    """One fine-tune as written in the file, or a grid of them."""

    sweep: Annotated[Grid, Field(min_length=1)] | None = setting(
        "Make one run for every combination of these values. The keys are those of a run, with"
        " dots: `lora.r`, `training.learning_rate`.",
        "identity",
        None,
        allowed="a mapping from key to a list of values, none of them a list",
    )

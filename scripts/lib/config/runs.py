"""The runs that a configuration can ask for: one fine-tune each, or a grid of them."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from scripts.lib.config.fields import (
    NAMES,
    TEMPLATES,
    Factor,
    Flag,
    HubName,
    JsonMapping,
    Seed,
    Settings,
    TemplateChoice,
    Text,
    group,
    is_name,
    refusal,
    setting,
)
from scripts.lib.config.lora import Lora
from scripts.lib.config.mixtures import Members
from scripts.lib.config.training import FULL_LEARNING_RATE, LORA_LEARNING_RATE, Training
from scripts.lib.data.conversation import PlainAnswers, TrainOn, Turns
from scripts.lib.train.optimization import OWN_SET


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


def _named_sets(value: object) -> object:
    """Return a list of datasets as the mapping in which each has its own name."""
    listed = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return {name: name for name in value} if listed else value  # type: ignore[attr-defined]


def _other_names(sets: JsonMapping) -> JsonMapping:
    """Check the names of sets; one is left to the run's own held-out rows."""
    if OWN_SET in sets:
        raise refusal(f"names a set {OWN_SET}, as the run's own is named; give it another name")
    for name, dataset in sets.items():
        if not isinstance(dataset, str) or not dataset:
            raise refusal(f"names a set {name}, and no dataset for it")
        if not is_name(name):
            raise refusal(f"names a set {name!r}, which is no usable name; allowed: {NAMES}")
    return sets


EvaluationSets = Annotated[JsonMapping, BeforeValidator(_named_sets), AfterValidator(_other_names)]


class Run(Settings):
    """One fine-tune."""

    model: Text = setting("Model to tune.", "identity", allowed="a name under `models`")
    dataset: Members = setting(
        "Dataset to tune on, or several with weights, caps and repeats (docs/datasets.md).",
        "identity",
        allowed="a name under `datasets`, a list of such names, or a mapping from such names to"
        " nothing, a weight, or a mapping with `weight`, `repeat`, `max_rows`",
    )
    evaluate_on: EvaluationSets = setting(
        "Other datasets whose held-out rows (split `valid`) are measured while training, rendered"
        " as the run's own: names under `datasets`, or a mapping from names of your own to them.",
        "identity",
        JsonMapping(),
        allowed="a list of names under `datasets`, or a mapping to such names",
    )
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
    continue_from: Text | None = setting(
        "Adapter that training goes on from; its shape is then its own, and keys of `lora` other"
        " than `dropout` are left out, or say the same.",
        "identity",
        None,
        allowed="a name of an adapter under `candidates`, or null",
    )
    lora: Lora | None = group(
        "The shape of the adapter; null trains all weights instead (docs/training.md).", Lora
    )
    quantization: Literal["nf4"] | None = setting(
        "Quantise the base model while training (QLoRA).", "identity", None
    )
    double_quantization: Flag = setting(
        "Quantise the scales of `nf4` too: 4.127 bits a weight instead of 4.5.", "identity", True
    )
    training: Training = group("How the adapter, or the whole model, is trained.", Training)
    on_contamination: Literal["report", "drop"] = setting(
        "What becomes of training and validation conversations that hold a question of one of the"
        " benchmarks: train on them and report it, or leave them out (docs/contamination.md).",
        "identity",
        "report",
    )
    on_verdict: Literal["report", "stop"] = setting(
        "What follows when the verdict on a training is any but `healthy`: go on and report it,"
        " or do not merge.",
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

    @model_validator(mode="after")
    def _settings_have_an_adapter(self) -> Self:
        """Refuse what is about an adapter where there is none."""
        if self.lora is not None:
            return self
        if self.quantization is not None:
            raise refusal(
                "quantises frozen weights, and lora: null trains all of them; write quantization:"
                " null, or leave lora: null out",
                "quantization",
            )
        if not self.double_quantization:
            raise refusal(
                "is of use to quantization: nf4, and lora: null trains weights that are not"
                " quantised; leave it out",
                "double_quantization",
            )
        if self.training.loraplus_lr_ratio is not None:
            raise refusal(
                "sets a rate for the matrices of an adapter, and with lora: null there is none;"
                " leave it out",
                "training.loraplus_lr_ratio",
            )
        if not self.merge:
            raise refusal(
                "scores model and adapter side by side, and with lora: null there is no adapter:"
                " the trained model is scored as it is; leave it out",
                "merge",
            )
        if not self.keep_merged:
            raise refusal(
                "removes a model that a merge could make again, and with lora: null only training"
                " could; leave it out, and delete results/trained/... yourself when its scores are"
                " there",
                "keep_merged",
            )
        return self

    @property
    def learning_rate(self) -> float:
        """The highest learning rate: as it is given, or what is usual for what is trained."""
        given = self.training.learning_rate
        return given or (FULL_LEARNING_RATE if self.lora is None else LORA_LEARNING_RATE)


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
    seeds: Annotated[tuple[Seed, ...], Field(min_length=2)] | None = setting(
        "Train once with each of these seeds; the runs share all but that, and the report sums them"
        " up: the mean effect with the spread between seeds (docs/replicates.md).",
        "identity",
        None,
        allowed="a list of two or more whole numbers, from 0 to 4294967295, each once; or null",
    )

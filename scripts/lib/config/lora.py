"""The shape of an adapter, as a run can ask for it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from scripts.lib.adapters.lora import EVA_RHO, Bias, Init
from scripts.lib.adapters.modules import ALL_LINEAR, EXPERTS
from scripts.lib.config.fields import (
    Count,
    Factor,
    Flag,
    JsonMapping,
    PartFraction,
    Positive,
    PositiveNumber,
    Settings,
    Text,
    refusal,
    setting,
)

T = TypeVar("T")


def _sorted(value: tuple[T, ...]) -> tuple[T, ...] | None:
    """Sort what is listed: its order changes nothing, so it must not change the identity."""
    return tuple(sorted(set(value))) or None  # type: ignore[type-var]


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise refusal(
            f"is no regular expression ({error}); escape what is meant as it is"
        ) from error
    return value


def _targets(value: str) -> str:
    """Return words for layers; a plain word would fit the whole name of none."""
    if value == ALL_LINEAR or not re.fullmatch(r"[\w\s,-]+", value):
        return _regex(value)
    names = ", ".join(part for part in re.split(r"[\s,]+", value) if part)
    raise refusal(
        f"would have to fit the whole name of a layer, as a regular expression; write {ALL_LINEAR},"
        f" or a list of names: [{names}]"
    )


def _experts(value: str) -> str:
    if value == EXPERTS:
        return value
    raise refusal(f"is refused; write {EXPERTS}, or a list of names: [{value}]")


Regex = Annotated[Text, AfterValidator(_regex)]
Names = Annotated[tuple[Text, ...], AfterValidator(_sorted)]
NotEmpty = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_sorted)]
Layers = Annotated[tuple[Count, ...], AfterValidator(_sorted)]
TargetParameters = Annotated[Text, AfterValidator(_experts)] | Names | None
Patterns = Annotated[Mapping[Regex, T], AfterValidator(JsonMapping), PlainSerializer(dict)]
TargetModules = Annotated[Text, AfterValidator(_targets)] | NotEmpty


class Lora(Settings):
    """The shape of the adapter."""

    @model_validator(mode="before")
    @classmethod
    def _without_dropout(cls, given: Any) -> Any:
        """Let the default go with parameters, where PEFT knows no dropout."""
        if isinstance(given, Mapping) and given.get("target_parameters") and "dropout" not in given:
            return {**given, "dropout": 0.0}
        return given

    r: Positive = setting("Rank.", "identity", 16)
    alpha: Positive = setting("Scale; the update is multiplied by alpha / r.", "identity", 32)
    rank_pattern: Patterns[Positive] = setting(
        "Ranks of single layers: regular expression, for the end of a layer's name, to rank.",
        "identity",
        JsonMapping(),
        allowed="a mapping such as `{down_proj: 32}`",
    )
    alpha_pattern: Patterns[PositiveNumber] = setting(
        "`alpha` of single layers, in the same way.",
        "identity",
        JsonMapping(),
        allowed="a mapping such as `{down_proj: 64}`",
    )
    dropout: PartFraction = setting("Dropout before the adapter.", "identity", 0.05)
    bias: Bias = setting("Biases to train.", "identity", "none")
    target_modules: TargetModules = setting(
        "Layers that get an adapter; `all-linear` is every linear layer but the output and a"
        " mixture's experts. A regular expression has to fit the whole name.",
        "identity",
        ALL_LINEAR,
        allowed=f"`{ALL_LINEAR}`, or a list of module names, or a regular expression",
    )
    exclude_modules: Regex | Names | None = setting(
        "Layers among these that get none.",
        "identity",
        None,
        allowed="a list of module names, a regular expression, or null",
    )
    layers_to_transform: Layers | None = setting(
        "Numbers of the layers that get adapters, from 0; null is all.",
        "identity",
        None,
        allowed="a list of whole numbers, or null",
    )
    modules_to_save: Names | None = setting(
        "Modules that are trained whole beside the adapter, such as `lm_head`.",
        "identity",
        None,
        allowed="a list of module names, or null",
    )
    target_parameters: TargetParameters = setting(
        "Parameters that get an adapter of their own; `experts` is those of a mixture, which are"
        " fused and which no name of a module reaches. `dropout` is 0 with it.",
        "identity",
        None,
        allowed=f"`{EXPERTS}`, or a list of names of parameters, or null",
    )
    use_rslora: Flag = setting("Scale by alpha / sqrt(r) instead (rsLoRA).", "identity", False)
    use_dora: Flag = setting("Train the magnitudes of the weights too (DoRA).", "identity", False)
    init: Init = setting(
        "First weights of the adapter; true is PEFT's own choice. `eva` looks at the inputs that"
        " the training rows give each layer, and shares the ranks out by them.",
        "identity",
        True,
    )
    eva_rho: Factor = setting(
        "How many times its rank EVA may give a layer; 1 leaves all ranks as they are.",
        "identity",
        EVA_RHO,
    )

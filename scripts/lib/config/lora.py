"""The shape of an adapter, as a run can ask for it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scripts.lib.config.fields import Flag, PartFraction, Positive, Settings, Text, setting
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

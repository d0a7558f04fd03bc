"""What an adapter is trained as, and what of that is refused before a model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from scripts.lib.adapters.lora import EVA_RHO, INITS, Bias, Init
from scripts.lib.errors import TrainingError
from scripts.lib.train.loop import LoopSpec, check_one_gpu
from scripts.lib.train.lora_faults import lora_faults, missing_package
from scripts.lib.train.mixture import Portion, portions_of


@dataclass(frozen=True, kw_only=True)
class LoraSpec:
    """The shape of an adapter; the names are PEFT's, less their prefixes."""

    r: int
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    dropout: float
    bias: Bias
    target_modules: str | Sequence[str]
    exclude_modules: str | Sequence[str] | None = None
    layers_to_transform: Sequence[int] | None = None
    modules_to_save: Sequence[str] | None = None
    target_parameters: str | Sequence[str] | None = None
    use_rslora: bool
    use_dora: bool
    init: Init
    eva_rho: float = EVA_RHO


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """What decides the bytes of an adapter, beside model and shards."""

    lora: LoraSpec
    training: LoopSpec
    quantization: Literal["nf4"] | None = None
    double_quantization: bool = True
    mixture: Sequence[Portion] = ()

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Self:
        """Build the spec from nested JSON objects."""
        return cls(
            lora=LoraSpec(**mapping["lora"]),
            training=LoopSpec(**mapping["training"]),
            quantization=mapping.get("quantization"),
            double_quantization=mapping.get("double_quantization", True),
            mixture=portions_of(mapping.get("mixture", ())),
        )


def check_spec(spec: TrainSpec) -> None:
    """Refuse settings that cannot be trained with on this machine.

    Raises:
        TrainingError: If there is one.
    """
    init = spec.lora.init
    if init not in INITS:
        raise TrainingError(f"lora.init {init!r} is not known; allowed: {INITS}")
    faults = lora_faults(spec.lora, spec.quantization, spec.double_quantization)
    if fault := next(faults, None):
        raise TrainingError(f"{fault.key} {fault.text}.")
    if lacking := missing_package(spec.quantization):
        raise TrainingError(f"{lacking}.")
    check_one_gpu("train_adapter")

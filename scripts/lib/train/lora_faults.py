"""What contradicts itself in the shape of an adapter, and in the base that it is trained on.

Pure, without torch: the configuration asks it of what is written, training of what it is to do.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Protocol

from scripts.lib.adapters.lora import EVA_RHO, Bias, Init, changes_base
from scripts.lib.adapters.modules import ALL_LINEAR, Shape
from scripts.lib.train.faults import SettingFault

OUTPUT_LAYER = "lm_head"


class LoraSettings(Shape, Protocol):
    """The shape of an adapter, in the configuration and in a spec."""

    @property
    def init(self) -> Init: ...  # noqa: D102

    @property
    def eva_rho(self) -> float: ...  # noqa: D102

    @property
    def dropout(self) -> float: ...  # noqa: D102

    @property
    def bias(self) -> Bias: ...  # noqa: D102

    @property
    def use_dora(self) -> bool: ...  # noqa: D102


def lora_faults(
    lora: LoraSettings, quantization: str | None, double_quantization: bool
) -> Iterator[SettingFault]:
    """Yield what contradicts itself in the shape of an adapter.

    Args:
        lora: The shape.
        quantization: How the base is quantised while training.
        double_quantization: Whether its scales are, too.
    """
    if not double_quantization and not quantization:
        yield SettingFault("double_quantization", "is of use to quantization: nf4; leave it out")
    yield from _parameter_faults(lora)
    if changes_base(lora.init):
        yes = {"lora.use_dora": lora.use_dora, "quantization": quantization}
        for key in (key for key, given in yes.items() if given):
            off = "false" if key == "lora.use_dora" else "null"
            yield SettingFault(
                "lora.init",
                f"{lora.init!r} moves weights of the base into the adapter, which {key} cannot undo"
                f" when it is saved; write init: true, or {key}: {off}",
            )
    targets = lora.target_modules
    if re.fullmatch(targets, OUTPUT_LAYER) if isinstance(targets, str) else OUTPUT_LAYER in targets:
        yield SettingFault(
            "lora.target_modules",
            f"names {OUTPUT_LAYER}, which TRL cannot train; leave it out, or write all-linear,"
            f" which does; modules_to_save: [{OUTPUT_LAYER}] trains it whole",
        )
    if isinstance(targets, str) and targets != ALL_LINEAR and lora.layers_to_transform:
        yield SettingFault(
            "lora.layers_to_transform",
            "cannot be combined with a regular expression as target_modules, by PEFT; let that say"
            r" which layers (`.*\.layers\.[01]\..*_proj`), or name modules in a list",
        )
    if lora.eva_rho != EVA_RHO and lora.init != "eva":
        yield SettingFault("lora.eva_rho", "is of use to init: eva only; leave it out")
    listed = () if isinstance(targets, str) else targets
    for name in sorted({*listed} & {*(lora.modules_to_save or ())}):
        yield SettingFault(
            "lora.modules_to_save",
            f"names {name}, which target_modules names too; a module is trained whole, or by an"
            " adapter: take it out of one",
        )


def _parameter_faults(lora: LoraSettings) -> Iterator[SettingFault]:
    """Yield what PEFT refuses, or leaves out, beside LoRA on parameters."""
    if not lora.target_parameters:
        return
    wrong = {
        "dropout: 0": lora.dropout > 0,
        "use_dora: false": lora.use_dora,
        "bias: none": lora.bias != "none",
        "init: true": lora.init not in (True, "gaussian"),
    }
    for instead in (text for text, found in wrong.items() if found):
        yield SettingFault(
            f"lora.{instead.partition(':')[0]}",
            "cannot be had beside target_parameters, where PEFT adds to the parameter itself"
            f" and not to what a layer gives; write {instead}, or leave target_parameters out",
        )


def missing_package(quantization: str | None) -> str | None:
    """Say which package a quantised base needs and this environment lacks, or return None."""
    if quantization != "nf4" or find_spec("bitsandbytes"):
        return None
    return (
        "quantization: nf4 needs the package bitsandbytes, which is not installed; install it into"
        " the environment (pip install bitsandbytes), or write quantization: null"
    )


def sharing_fault(quantization: str | None, fsdp: int) -> str | None:
    """Say why a model cannot be shared out among processes, or return None."""
    if quantization is None or not fsdp:
        return None
    return (
        f"a base in {quantization} cannot be shared out among processes; leave out fsdp=1, or write"
        " quantization: null"
    )

"""Optimizers by name, and what they and a schedule can be told together; pure, without torch.

The names are those of transformers (`optim`). What it would pass over in
silence is refused here: an argument that an optimizer has not, a warm-up of a schedule without one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Literal, get_args

from scripts.lib.train.faults import SettingFault
from scripts.lib.train.schedules import (
    BY_LOSS,
    Kind,
    Scheduler,
    kind_fault,
    listed,
    schedule_faults,
)

OptimizerName = Literal[
    "adamw_torch_fused",
    "adamw_torch",
    "adafactor",
    "sgd",
    "adagrad",
    "rmsprop",
    "adamw_torch_4bit",
    "adamw_torch_8bit",
    "adamw_bnb_8bit",
    "adamw_8bit",
    "ademamix",
    "ademamix_8bit",
    "lion_32bit",
    "lion_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "schedule_free_adamw",
    "schedule_free_radam",
    "schedule_free_sgd",
    "stable_adamw",
    "grokadamw",
]

_LOW_RANK = "is of a package that is not supported here; adafactor takes little memory, too"
_LAYERWISE = "keeps its state out of checkpoints, so that a stopped run could not go on"
_LOMO = "changes weights within the backward pass, so that no gradient could be summed or clipped"
UNUSABLE: Mapping[str, str] = MappingProxyType(
    {
        "adamw_torch_xla": "is for XLA devices",
        "adamw_torch_npu_fused": "is for NPU devices",
        "adamw_anyprecision": "is of torchdistx, which is no longer made",
        "galore_adamw": _LOW_RANK,
        "galore_adamw_8bit": _LOW_RANK,
        "galore_adafactor": _LOW_RANK,
        "apollo_adamw": _LOW_RANK,
        "galore_adamw_layerwise": _LAYERWISE,
        "galore_adamw_8bit_layerwise": _LAYERWISE,
        "galore_adafactor_layerwise": _LAYERWISE,
        "apollo_adamw_layerwise": _LAYERWISE,
        "lomo": _LOMO,
        "adalomo": _LOMO,
    }
)
"""Optimizers of transformers that nothing is trained with here, and why."""

BETAS = ("adam_beta1", "adam_beta2")
ADAM = (*BETAS, "adam_epsilon")
ADAM_DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8}
)

LORAPLUS_LR_EMBEDDING = 1e-6
"""PEFT's rate for adapters of embeddings with LoRA+."""


@dataclass(frozen=True)
class Optimizer:
    """What transformers hands on to one optimizer.

    Attributes:
        settings: Which of ADAM it reads.
        arguments: What `optim_args` can say to it, beside the settings that have keys of their own.
        package: The package that holds it, as it is imported, where that is not torch.
        install: The same package as it is installed.
    """

    settings: tuple[str, ...] = ()
    arguments: Mapping[str, Kind] = field(default_factory=dict)
    package: str | None = None
    install: str = ""


_BNB = ("bitsandbytes", "bitsandbytes")
_AO = ("torchao", "torchao")
_FREE = ("schedulefree", "schedulefree")
_FREE_ARGUMENTS: Mapping[str, Kind] = {"weight_lr_power": "number", "r": "number"}
_ADEMAMIX = Optimizer(
    ADAM,
    {"beta3": "number", "alpha": "number", "t_alpha": "whole", "t_beta3": "whole"},
    *_BNB,
)
# rmsprop_bnb gets its arguments as the text that they were written as, block_size of torchao too:
# neither works, so neither is offered (transformers.trainer_optimizer).
OPTIMIZERS: Mapping[OptimizerName, Optimizer] = MappingProxyType(
    {
        "adamw_torch_fused": Optimizer(ADAM),
        "adamw_torch": Optimizer(ADAM),
        "adafactor": Optimizer(),
        "sgd": Optimizer((), {"momentum": "number", "dampening": "number", "nesterov": "flag"}),
        "adagrad": Optimizer((), {"lr_decay": "number", "eps": "number"}),
        "rmsprop": Optimizer(
            (), {"momentum": "number", "alpha": "number", "eps": "number", "centered": "flag"}
        ),
        "adamw_torch_4bit": Optimizer(ADAM, {"bf16_stochastic_round": "flag"}, *_AO),
        "adamw_torch_8bit": Optimizer(ADAM, {"bf16_stochastic_round": "flag"}, *_AO),
        "adamw_bnb_8bit": Optimizer(ADAM, {}, *_BNB),
        "adamw_8bit": Optimizer(ADAM, {}, *_BNB),
        "ademamix": _ADEMAMIX,
        "ademamix_8bit": _ADEMAMIX,
        "lion_32bit": Optimizer(BETAS, {}, *_BNB),
        "lion_8bit": Optimizer(BETAS, {}, *_BNB),
        "paged_adamw_32bit": Optimizer(ADAM, {}, *_BNB),
        "paged_adamw_8bit": Optimizer(ADAM, {}, *_BNB),
        "paged_ademamix_32bit": _ADEMAMIX,
        "paged_ademamix_8bit": _ADEMAMIX,
        "paged_lion_32bit": Optimizer(BETAS, {}, *_BNB),
        "paged_lion_8bit": Optimizer(BETAS, {}, *_BNB),
        "rmsprop_bnb": Optimizer((), {}, *_BNB),
        "rmsprop_bnb_8bit": Optimizer((), {}, *_BNB),
        "rmsprop_bnb_32bit": Optimizer((), {}, *_BNB),
        "schedule_free_adamw": Optimizer(ADAM, _FREE_ARGUMENTS, *_FREE),
        "schedule_free_radam": Optimizer(ADAM, _FREE_ARGUMENTS, *_FREE),
        "schedule_free_sgd": Optimizer((), _FREE_ARGUMENTS, *_FREE),
        "stable_adamw": Optimizer(
            ADAM,
            {"decouple_lr": "flag", "max_lr": "number", "kahan_sum": "flag"},
            "optimi",
            "torch-optimi",
        ),
        "grokadamw": Optimizer(
            (),
            {
                "alpha_init": "number",
                "lamb": "number",
                "gamma": "number",
                "grokking_signal_decay_rate": "number",
                "gradient_clipping": "number",
            },
            "grokadamw",
            "grokadamw",
        ),
    }
)

OWN_SET = "valid"
"""The held-out rows of a run's own dataset, among those that it is measured on."""


def keeps_best(settings: Mapping[str, Any]) -> bool:
    """Tell whether the best weights are kept, of a training's settings by name."""
    patient: bool = settings["early_stopping_patience"] is not None
    return patient if settings["keep"] is None else bool(settings["keep"] == "best")


def needs_held_out(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of a training, by name, that follow the loss on its own held-out rows."""
    by_own = settings["best_by"] == OWN_SET
    watching = {
        "early_stopping_patience": by_own and settings["early_stopping_patience"] is not None,
        "keep": by_own and settings["keep"] == "best",
        "scheduler": settings["scheduler"] in BY_LOSS,
    }
    return [key for key, watches in watching.items() if watches]


def optimization_faults(settings: Mapping[str, Any], steps: int | None) -> Iterator[SettingFault]:
    """Yield what optimizer and schedule cannot be told.

    Args:
        settings: Those of a training, by name.
        steps: Steps of the run, where they are known.
    """
    yield from optimizer_faults(
        settings["optim"],
        settings["optim_args"],
        {key: settings[key] for key in ADAM},
        settings["scheduler"],
    )
    yield from schedule_faults(
        settings["scheduler"],
        settings["lr_scheduler_kwargs"],
        optim=settings["optim"],
        learning_rate=settings["learning_rate"],
        warmup_steps=settings["warmup_steps"],
        warmup_ratio=settings["warmup_ratio"],
        steps=steps,
    )
    stopping = settings["early_stopping_patience"] is not None
    if settings["best_by"] != OWN_SET and not (stopping or keeps_best(settings)):
        yield SettingFault(
            "training.best_by", "is for keep: best or early_stopping_patience; give one of them"
        )
    embedding = settings["loraplus_lr_embedding"]
    if settings["loraplus_lr_ratio"] is None and embedding != LORAPLUS_LR_EMBEDDING:
        yield SettingFault(
            "training.loraplus_lr_embedding", "is for LoRA+; give loraplus_lr_ratio, too"
        )


def optimizer_faults(
    optim: OptimizerName,
    optim_args: Mapping[str, object],
    adam: Mapping[str, float],
    scheduler: Scheduler,
) -> Iterator[SettingFault]:
    """Yield what an optimizer cannot be told.

    Args:
        optim: Its name.
        optim_args: Its own arguments.
        adam: The settings of ADAM.
        scheduler: Name of the schedule.
    """
    optimizer = OPTIMIZERS[optim]
    for key, value in adam.items():
        if key not in optimizer.settings and value != ADAM_DEFAULTS[key]:
            having = [name for name, other in OPTIMIZERS.items() if key in other.settings]
            yield SettingFault(
                f"training.{key}",
                f"is nothing that optim: {optim} has; leave it out, or take one that has it:"
                f" {', '.join(having)}",
            )
    for key, told in optim_args.items():
        path = f"training.optim_args.{key}"
        if key in optimizer.arguments:
            if text := kind_fault(optimizer.arguments[key], told):
                yield SettingFault(path, text)
        elif key == "weight_decay":
            yield SettingFault(path, "has a key of its own: training.weight_decay")
        elif f"adam_{key}".replace("eps", "epsilon") in optimizer.settings or key == "betas":
            yield SettingFault(path, f"has keys of its own: {', '.join(optimizer.settings)}")
        else:
            yield SettingFault(
                path, f"is no argument of optim: {optim}; {listed(optimizer.arguments)}"
            )
    if optim_args.get("nesterov") is True and (
        not optim_args.get("momentum") or optim_args.get("dampening")
    ):
        yield SettingFault(
            "training.optim_args.nesterov", "needs a momentum above 0, and no dampening"
        )
    if optim.startswith("schedule_free") and scheduler != "constant":
        yield SettingFault(
            "training.scheduler",
            f"is {scheduler}, and optim: {optim} does without a schedule; write constant",
        )


def missing_optimizer_package(optim: OptimizerName) -> str | None:
    """Say which package an optimizer needs and this environment lacks, or return None."""
    optimizer = OPTIMIZERS[optim]
    if optimizer.package is None or find_spec(optimizer.package):
        return None
    return (
        f"optim: {optim} needs the package {optimizer.install}, which is not installed; install it"
        f" into the environment (pip install {optimizer.install}), or write"
        f" optim: {get_args(OptimizerName)[0]}"
    )

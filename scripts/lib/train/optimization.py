"""Optimizers and learning-rate schedules by name, and what each can be told; pure, without torch.

The names are those of transformers (`optim`, `lr_scheduler_type`). What it would pass over in
silence is refused here: an argument that an optimizer has not, a warm-up of a schedule without one.
"""

import ast
import math
from ast import literal_eval
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from scripts.lib.train.faults import SettingFault

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

Kind = Literal["number", "whole", "flag"]
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

Scheduler = Literal[
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "cosine_with_restarts",
    "polynomial",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "reduce_lr_on_plateau",
    "greedy",
]
BY_LOSS = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow the held-out loss."""
NO_WARMUP = ("constant", *BY_LOSS)
NO_ARGUMENTS_TAKEN = ("constant", "constant_with_warmup")
"""Schedules that transformers hands no arguments on to."""

# Where a schedule's arguments stand: package, module below it, function or class.
_TRANSFORMERS = ("transformers", "optimization")
_SIGNATURES: Mapping[Scheduler, tuple[str, str, str]] = MappingProxyType(
    {
        "cosine": (*_TRANSFORMERS, "get_cosine_schedule_with_warmup"),
        "linear": (*_TRANSFORMERS, "get_linear_schedule_with_warmup"),
        "inverse_sqrt": (*_TRANSFORMERS, "get_inverse_sqrt_schedule"),
        "cosine_with_restarts": (
            *_TRANSFORMERS,
            "get_cosine_with_hard_restarts_schedule_with_warmup",
        ),
        "polynomial": (*_TRANSFORMERS, "get_polynomial_decay_schedule_with_warmup"),
        "cosine_with_min_lr": (*_TRANSFORMERS, "get_cosine_with_min_lr_schedule_with_warmup"),
        "cosine_warmup_with_min_lr": (
            *_TRANSFORMERS,
            "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
        ),
        "warmup_stable_decay": (*_TRANSFORMERS, "get_wsd_schedule"),
        "greedy": (*_TRANSFORMERS, "GreedyLR"),
        "reduce_lr_on_plateau": ("torch", "optim/lr_scheduler", "ReduceLROnPlateau"),
    }
)
_GIVEN = {
    *("self", "optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"),
    "verbose",  # only prints
}
"""Arguments that are not for a config: the trainer gives them, or they change no byte."""

_SHAPES = ("linear", "cosine", "1-sqrt")
_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "warmup_type": _SHAPES,
        "decay_type": _SHAPES,
        "mode": ("min",),  # the loss is to fall
        "threshold_mode": ("rel", "abs"),
    }
)


class Parameter(NamedTuple):
    """One argument of a schedule: its type as it is written, and its default, as it is written."""

    annotation: str
    default: str | None


@cache
def schedule_parameters(scheduler: Scheduler) -> Mapping[str, Parameter] | None:
    """Return what `lr_scheduler_kwargs` can say to a schedule, as the installed libraries have it.

    Their source is read, not imported: planning waits for no torch. None where a library is not
    installed.
    """
    if scheduler in NO_ARGUMENTS_TAKEN:
        return {}
    package, module, name = _SIGNATURES[scheduler]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse((Path(spec.origin).parent / f"{module}.py").read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if getattr(node, "name", None) == name)
    if isinstance(found, ast.ClassDef):
        (found,) = (node for node in found.body if getattr(node, "name", None) == "__init__")
    assert isinstance(found, ast.FunctionDef)
    positional = found.args.args
    defaults = [None] * (len(positional) - len(found.args.defaults)) + list(found.args.defaults)
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(found.args.kwonlyargs, found.args.kw_defaults, strict=True)
    return {
        one.arg: Parameter(
            ast.unparse(one.annotation) if one.annotation else "float",
            None if default is None else ast.unparse(default),
        )
        for one, default in pairs
        if one.arg not in _GIVEN
    }


def warmup_of(steps: int, warmup_steps: int | None, warmup_ratio: float) -> int:
    """Return the steps in which the rate rises, of *steps*; as transformers rounds them."""
    return math.ceil(steps * warmup_ratio) if warmup_steps is None else warmup_steps


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
            if text := _kind_fault(optimizer.arguments[key], told):
                yield SettingFault(path, text)
        elif key == "weight_decay":
            yield SettingFault(path, "has a key of its own: training.weight_decay")
        elif f"adam_{key}".replace("eps", "epsilon") in optimizer.settings or key == "betas":
            yield SettingFault(path, f"has keys of its own: {', '.join(optimizer.settings)}")
        else:
            yield SettingFault(
                path, f"is no argument of optim: {optim}; {_listed(optimizer.arguments)}"
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


def schedule_faults(
    scheduler: Scheduler,
    arguments: Mapping[str, object],
    *,
    optim: OptimizerName,
    learning_rate: float,
    warmup_steps: int | None,
    warmup_ratio: float,
    steps: int | None,
) -> Iterator[SettingFault]:
    """Yield what a schedule of the learning rate cannot be told.

    Args:
        scheduler: Its name.
        arguments: Its own arguments.
        optim: Name of the optimizer.
        learning_rate: The highest rate.
        warmup_steps: Steps of warm-up, where they were counted.
        warmup_ratio: Their share of all steps, where not.
        steps: Steps of the run, where they are known.
    """
    if warmup_steps and scheduler in NO_WARMUP and not optim.startswith("schedule_free"):
        yield SettingFault(
            "training.warmup_steps",
            f"is for schedules that begin with a warm-up, and scheduler: {scheduler} has none;"
            " leave it out, or take another (constant_with_warmup is constant behind one)",
        )
    faults = list(_argument_faults(scheduler, arguments))
    yield from faults
    if faults:
        return
    yield from _range_faults(scheduler, arguments, learning_rate)
    if steps is None:
        return
    warmup = warmup_of(steps, warmup_steps, warmup_ratio)
    if steps == 1 and warmup and _begins_at_zero(scheduler, arguments):
        key = "warmup_ratio" if warmup_steps is None else "warmup_steps"
        yield SettingFault(
            f"training.{key}",
            "makes the learning rate 0 in the one step of this run, which would train nothing;"
            f" write {key}: 0, or train for more steps (epochs, max_steps, a smaller batch_size)",
        )
    decay = arguments.get("num_decay_steps")
    if isinstance(decay, int) and warmup + decay > steps:
        yield SettingFault(
            "training.lr_scheduler_kwargs.num_decay_steps",
            f"is too many: warm-up ({warmup}) and decay do not fit into {steps} steps",
        )


def _argument_faults(
    scheduler: Scheduler, arguments: Mapping[str, object]
) -> Iterator[SettingFault]:
    """Yield arguments that a schedule has not, lacks, or has of another type."""
    parameters = schedule_parameters(scheduler)
    if parameters is None:
        return
    for name, value in arguments.items():
        path = f"training.lr_scheduler_kwargs.{name}"
        if name not in parameters:
            yield SettingFault(
                path, f"is no argument of scheduler: {scheduler}; {_listed(parameters)}"
            )
        elif name in _CHOICES:
            if value not in _CHOICES[name]:
                yield SettingFault(path, f"can be: {', '.join(_CHOICES[name])}")
        elif text := _annotation_fault(parameters[name].annotation, value):
            yield SettingFault(path, text)
    lacking = [name for name, one in parameters.items() if one.default is None]
    for name in lacking:
        if arguments.get(name) is None:
            yield SettingFault(
                "training.lr_scheduler_kwargs",
                f"lacks {name}, which scheduler: {scheduler} needs; write"
                f" lr_scheduler_kwargs: {{{name}: ...}}",
            )


def _range_faults(
    scheduler: Scheduler, arguments: Mapping[str, object], learning_rate: float
) -> Iterator[SettingFault]:
    """Yield arguments of the right type that a schedule can do nothing with."""
    parameters = schedule_parameters(scheduler) or {}

    def value(name: str) -> float | None:
        """Return an argument, or the library's default."""
        found: object = arguments.get(name)
        if found is None and (known := parameters.get(name)) and known.default:
            found = literal_eval(known.default)
        return float(found) if isinstance(found, int | float) else None

    def fault(name: str, text: str) -> SettingFault:
        return SettingFault(f"training.lr_scheduler_kwargs.{name}", text)

    if "min_lr_rate" in parameters:
        given = [name for name in ("min_lr", "min_lr_rate") if arguments.get(name) is not None]
        if len(given) != 1:
            text = "has both min_lr and min_lr_rate" if given else "lacks min_lr or min_lr_rate"
            yield SettingFault(
                "training.lr_scheduler_kwargs", f"{text}; scheduler: {scheduler} needs one of them"
            )
    for name in ("min_lr_rate", "warmup_lr_rate", "min_lr_ratio"):
        if (share := value(name)) is not None and share > 1:
            yield fault(name, "is a share of learning_rate, at most 1")
    for name in ("min_lr", "lr_end"):
        low = value(name)
        # A floor may be the rate itself; a polynomial must fall.
        if low is not None and (low > learning_rate or (low == learning_rate and name == "lr_end")):
            said = "is" if arguments.get(name) is not None else f"is {low:g} unless it is given,"
            yield fault(name, f"{said} no less than learning_rate ({learning_rate:g})")
    if (factor := value("factor")) is not None and factor >= 1:
        yield fault("factor", "must be less than 1")
    for name in ("num_cycles", "timescale"):
        if value(name) == 0:
            yield fault(name, "must be more than 0")


def _begins_at_zero(scheduler: Scheduler, arguments: Mapping[str, object]) -> bool:
    """Tell whether the first step of a warm-up has the rate 0."""
    if scheduler in NO_WARMUP:
        return False
    if scheduler == "cosine_warmup_with_min_lr":
        return arguments.get("warmup_lr_rate") == 0
    return not (scheduler == "warmup_stable_decay" and arguments.get("min_lr_ratio"))


def _annotation_fault(annotation: str, value: object) -> str | None:
    """Say why *value* does not fit a type as it is written: `float | None`, `int`, `bool`."""
    if value is None and "None" in annotation:
        return None
    if "bool" in annotation:
        return _kind_fault("flag", value)
    return _kind_fault("number" if "float" in annotation else "whole", value)


def _kind_fault(kind: Kind, value: object) -> str | None:
    """Say why *value* is not of a kind, or return None."""
    if kind == "flag":
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return f"must be a {'whole ' if kind == 'whole' else ''}number, 0 or more"
    if kind == "whole" and not isinstance(value, int):
        return "must be a whole number, 0 or more"
    return None


def _listed(names: Mapping[str, object]) -> str:
    return f"its arguments are: {', '.join(names)}" if names else "it takes none"

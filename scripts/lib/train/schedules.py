"""Learning-rate schedules by name, and what each can be told; pure, without torch.

The names are those of transformers (`lr_scheduler_type`).
"""

import ast
import math
from ast import literal_eval
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from scripts.lib.train.faults import SettingFault

Kind = Literal["number", "whole", "flag"]

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


def without_warmup(scheduler: Scheduler) -> str:
    """Say that a warm-up is nothing for a schedule."""
    return (
        f"is for schedules that begin with a warm-up, and scheduler: {scheduler} has none;"
        " leave it out, or take another (constant_with_warmup is constant behind one)"
    )


def schedule_faults(
    scheduler: Scheduler,
    arguments: Mapping[str, object],
    *,
    optim: str,
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
        yield SettingFault("training.warmup_steps", without_warmup(scheduler))
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
                path, f"is no argument of scheduler: {scheduler}; {listed(parameters)}"
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
        return kind_fault("flag", value)
    return kind_fault("number" if "float" in annotation else "whole", value)


def kind_fault(kind: Kind, value: object) -> str | None:
    """Say why *value* is not of a kind, or return None."""
    if kind == "flag":
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return f"must be a {'whole ' if kind == 'whole' else ''}number, 0 or more"
    if kind == "whole" and not isinstance(value, int):
        return "must be a whole number, 0 or more"
    return None


def listed(names: Mapping[str, object]) -> str:
    """Say what can be told."""
    return f"its arguments are: {', '.join(names)}" if names else "it takes none"

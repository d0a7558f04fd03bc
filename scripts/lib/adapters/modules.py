"""Which modules of a model an adapter reaches, by PEFT's rules, told from their names alone.

Planning asks it of the names in a local model's files, training of the model that it has loaded; so
both refuse a name that is nowhere in the same words, before a step is trained.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

ALL_LINEAR = "all-linear"

EXPERTS = "experts"
"""What `target_parameters` calls every parameter of a mixture's fused experts."""

SHOWN = 12
_LAYER = re.compile(r"(?:^|.*?\.)[^.]*\.(\d+)\.")  # the first number: later ones count experts


class Shape(Protocol):
    """The settings of an adapter that name modules, by PEFT's names."""

    @property
    def target_modules(self) -> str | Sequence[str]: ...  # noqa: D102

    @property
    def exclude_modules(self) -> str | Sequence[str] | None: ...  # noqa: D102

    @property
    def layers_to_transform(self) -> Sequence[int] | None: ...  # noqa: D102

    @property
    def modules_to_save(self) -> Sequence[str] | None: ...  # noqa: D102

    @property
    def target_parameters(self) -> str | Sequence[str] | None: ...  # noqa: D102

    @property
    def rank_pattern(self) -> Mapping[str, int]: ...  # noqa: D102

    @property
    def alpha_pattern(self) -> Mapping[str, float]: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Names in a model.

    Attributes:
        linear: Linear layers without the output layer, in the model's order.
        others: Whatever else LoRA can be put on: embeddings, the output layer.
        all: All modules, these included.
        parameters: Parameters that are of no such module: experts, routers.
        experts: Those of them that hold all experts of a layer, in three dimensions.
        unreached: Last parts of names that mean single experts, or that PEFT takes for them: in a
            mixture no module can be aimed at by these.
    """

    linear: Sequence[str]
    others: Collection[str] = ()
    all: Collection[str] = ()
    parameters: Sequence[str] = ()
    experts: Sequence[str] = ()
    unreached: Collection[str] = ()

    @property
    def layers(self) -> int:
        """How many layers lie on each other."""
        numbers = [int(found[1]) for name in self.linear if (found := _LAYER.match(name))]
        return max(numbers, default=-1) + 1


def reached(shape: Shape, modules: Modules) -> list[str]:
    """Return the modules that get LoRA, in the model's order."""
    saved = [rf"(^|.*\.){name}($|\..*)" for name in shape.modules_to_save or ()]
    return [
        name
        for name in _targeted(shape, modules)
        if not _named(name, shape.exclude_modules or ())
        and not any(re.match(pattern, name) for pattern in saved)
        and _in_layers(name, shape.layers_to_transform or ())
    ]


def reached_parameters(shape: Shape, modules: Modules) -> list[str]:
    """Return the parameters that get an adapter of their own, in the model's order."""
    wanted = shape.target_parameters or ()
    names = modules.experts if wanted == EXPERTS else modules.parameters
    return [
        name
        for name in names
        if (wanted == EXPERTS or _named(name, wanted))
        and not _named(name, shape.exclude_modules or ())
        and _in_layers(name, shape.layers_to_transform or ())
    ]


def _targeted(shape: Shape, modules: Modules) -> list[str]:
    wanted = shape.target_modules
    within = [name for name in modules.linear if name.rpartition(".")[2] not in modules.unreached]
    if wanted == ALL_LINEAR:
        return within
    return [name for name in (*within, *modules.others) if _named(name, wanted)]


def _named(name: str, wanted: str | Sequence[str]) -> bool:
    """Tell whether *wanted* means a module: a regular expression, or last parts of names."""
    if isinstance(wanted, str):
        return bool(wanted) and bool(re.fullmatch(wanted, name))
    return any(name == one or name.endswith(f".{one}") for one in wanted)


def _in_layers(name: str, layers: Collection[int]) -> bool:
    found = _LAYER.match(name)
    return not layers or bool(found and int(found[1]) in layers)


def fits_pattern(pattern: str, name: str) -> bool:
    """Tell whether a key of `rank_pattern` or `alpha_pattern` means a module."""
    return bool(re.match(rf"(.*\.)?({pattern})$", name))


def module_faults(shape: Shape, modules: Modules) -> Iterator[tuple[str, str]]:
    """Yield each setting that names what the model does not have, and what to write instead.

    Args:
        shape: The adapter's settings.
        modules: The model's names.
    """
    wanted = shape.target_modules
    candidates = [*modules.linear, *modules.others]
    if isinstance(wanted, str):
        if wanted != ALL_LINEAR and not _targeted(shape, modules):
            yield "lora.target_modules", _no_match(wanted, candidates)
    else:
        for one in wanted:
            if one.rpartition(".")[2] in modules.unreached:
                yield "lora.target_modules", _is_expert(one)
            elif not any(_named(name, (one,)) for name in candidates):
                yield "lora.target_modules", _unknown(one, candidates)
    excluded = shape.exclude_modules or ()
    if isinstance(excluded, str):
        if not any(_named(name, excluded) for name in candidates):
            yield "lora.exclude_modules", _no_match(excluded, candidates)
    else:
        for one in excluded:
            if not any(_named(name, (one,)) for name in candidates):
                yield "lora.exclude_modules", _unknown(one, candidates)
    for number in shape.layers_to_transform or ():
        if number >= modules.layers:
            yield (
                "lora.layers_to_transform",
                f"names layer {number}, and the model has {modules.layers}: 0 to"
                f" {modules.layers - 1}",
            )
    for one in shape.modules_to_save or ():
        if not any(_named(name, (one,)) for name in modules.all):
            yield "lora.modules_to_save", _unknown(one, modules.all)
    yield from _parameter_faults(shape, modules)
    names = [*reached(shape, modules), *reached_parameters(shape, modules)]
    if names:
        yield from _pattern_faults(shape, names)
    elif _targeted(shape, modules):
        yield (
            "lora.target_modules",
            "leaves no layer to train beside exclude_modules, modules_to_save and"
            " layers_to_transform; take something out of these",
        )


def _parameter_faults(shape: Shape, modules: Modules) -> Iterator[tuple[str, str]]:
    wanted = shape.target_parameters or ()
    if wanted == EXPERTS and not modules.experts:
        yield (
            "lora.target_parameters",
            f"asks for {EXPERTS}, and the model has none that are fused; leave it out",
        )
    for one in () if isinstance(wanted, str) else wanted:
        if not any(_named(name, (one,)) for name in modules.parameters):
            yield "lora.target_parameters", _unknown(one, modules.parameters, "parameter")


def _pattern_faults(shape: Shape, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    given: dict[str, Mapping[str, Any]] = {
        "rank_pattern": shape.rank_pattern,
        "alpha_pattern": shape.alpha_pattern,
    }
    for key, patterns in given.items():
        for pattern in patterns:
            if not any(fits_pattern(pattern, name) for name in names):
                yield (
                    f"lora.{key}",
                    f"has {pattern!r}, which fits no layer that gets an adapter; these do:"
                    f" {_endings(names)}",
                )
        for name in names:
            fitting = {one: value for one, value in patterns.items() if fits_pattern(one, name)}
            if len(set(fitting.values())) > 1:
                yield (
                    f"lora.{key}",
                    f"gives {name} {len(fitting)} values ({', '.join(map(repr, fitting))}); let"
                    " one pattern fit each layer",
                )
                break


def _no_match(pattern: str, candidates: Sequence[str]) -> str:
    text = f"is the regular expression {pattern!r}, which fits the whole name of no module"
    parts = [part.strip() for part in pattern.split(",")]
    if all(any(_named(name, (part,)) for name in candidates) for part in parts):
        return f"{text}; for names, write a list: [{', '.join(parts)}]"
    example = f", such as {candidates[0]}" if candidates else ""
    return f"{text}{example}; the model has {_endings(candidates)}"


def _unknown(name: str, known: Collection[str], what: str = "module") -> str:
    endings = sorted({one.rpartition(".")[2] for one in known})
    near = get_close_matches(name, endings, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"names {name!r}, and the model has no such {what}; {hint}it has {_endings(known)}"


def _is_expert(name: str) -> str:
    return (
        f"names {name!r}, which in this mixture means its experts: Transformers keeps them fused in"
        f" one parameter, where no layer can be aimed at; leave {name!r} out, and write"
        f" target_parameters: {EXPERTS} with dropout: 0"
    )


def _endings(names: Collection[str]) -> str:
    """Return the last parts of *names*, each once; numbers are of no use."""
    endings = sorted({name.rpartition(".")[2] for name in names} - {""})
    endings = [ending for ending in endings if not ending.isdigit()]
    more = f" and {len(endings) - SHOWN} more" if len(endings) > SHOWN else ""
    return ", ".join(endings[:SHOWN]) + more

"""One entry under `runs` becomes the runs of its sweep and its seeds, or says what is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from scripts.lib.config.fields import check_name
from scripts.lib.config.mixtures import DATASET, members, setting_of, split_key
from scripts.lib.config.problems import Problem, Schema, nearest, problems_of, resolve, shown
from scripts.lib.config.runs import Run
from scripts.lib.config.sweep import GRID_LIMIT, at_point, grid_points, grid_size, point_name
from scripts.lib.config.unknown_keys import say_meanings

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class NamedRun:
    """A run after the expansion of sweeps.

    Attributes:
        source: Its key in the file.
        name: Its name; differs from *source* when that has a sweep or seeds.
        run: Its settings.
        group: The name of the runs that differ from it in their seed alone, or None.
    """

    source: str
    name: str
    run: Run
    group: str | None = None


def leaf_keys(schema: Schema) -> dict[str, Schema]:
    """Return the dotted keys of a class's settings, without its groups, with their schemas."""
    found: dict[str, Schema] = {}
    for key, node in schema.get("properties", {}).items():
        node = resolve(node, schema)
        if "properties" in (inner := inner_group(node, schema)):
            below = {**inner, "$defs": schema.get("$defs", {})}
            found |= {f"{key}.{leaf}": inner for leaf, inner in leaf_keys(below).items()}
        else:
            found[key] = node
    return found


def inner_group(node: Schema, schema: Schema) -> Schema:
    """Return the group that *node* is, or that it is unless it is null; else *node* itself."""
    groups = [resolve(variant, schema) for variant in node.get("anyOf", ())]
    named = [group for group in groups if "properties" in group]
    null = [group for group in groups if group.get("type") == "null"]
    return named[0] if len(named) == len(null) == 1 and len(groups) == 2 else node


SEED = "training.seed"
"""The key that `seeds` gives several values to."""


@cache
def run_schema() -> Schema:
    """Return the JSON schema of a run without a sweep."""
    return Run.model_json_schema()


@cache
def sweep_keys() -> tuple[str, ...]:
    """Return the keys that a sweep can vary: those that change the result."""
    leaves = leaf_keys(run_schema())
    return tuple(key for key, node in leaves.items() if node["kind"] == "identity")


def _is_swept(key: object) -> bool:
    """Tell whether a sweep can vary a key: a setting, or one of a dataset in a mixture."""
    return key in sweep_keys() or setting_of(str(key)) is not None


def swept(run: object) -> dict[str, Sequence[object]]:
    """Return what a raw run is made several of: the well-formed part of its sweep, then its seeds.

    Returns:
        Known keys with lists of values, those of `seeds` under the key of a seed.
    """
    if not isinstance(run, Mapping):
        return {}
    sweep = run.get("sweep")
    found = {
        key: values
        for key, values in (sweep.items() if isinstance(sweep, Mapping) else ())
        if _is_swept(key) and isinstance(values, list | tuple) and values
    }
    return found | ({SEED: run["seeds"]} if _has_seeds(run) else {})


def _has_seeds(run: Raw) -> bool:
    seeds = run.get("seeds")
    return isinstance(seeds, list | tuple) and bool(seeds)


def first_point(run: object) -> dict[str, object]:
    """Return the first value of each swept key, so that a run can be checked as a whole."""
    return {key: values[0] for key, values in swept(run).items()}


def expand_run(source: str, raw: Raw) -> tuple[list[NamedRun], list[Problem]]:
    """Return the runs that one entry under `runs` makes, and what is wrong with its sweep.

    Args:
        source: Name of the entry.
        raw: The entry as written.

    Returns:
        The runs, none if anything is wrong with the entry, and the problems of its sweep alone:
        those of its other keys are the schema's to report.
    """
    problems = [
        *_key_problems(source, raw),
        *_value_problems(source, raw),
        *_seed_problems(source, raw),
    ]
    sweep = swept(raw)
    if problems:
        return [], problems
    maker = "sweep" if raw.get("sweep") else "seeds"
    if grid_size(sweep) > GRID_LIMIT:
        text = f"makes {grid_size(sweep)} runs; allowed: at most {GRID_LIMIT}"
        return [], [Problem(("runs", source, maker), text)]
    runs = []
    for point in grid_points(sweep):
        try:
            run = Run.model_validate(at_point(raw, point))
        except ValidationError as error:
            return [], list(_point_problems(source, raw, point, error))
        values = {key: point[key] if key == DATASET else _value_at(run, key) for key in point}
        group = None
        if _has_seeds(raw):
            group = _name(source, {key: value for key, value in values.items() if key != SEED})
        runs.append(NamedRun(source, _name(source, values), run, group))
    return runs, list(_name_problems(runs, maker))


def _name(source: str, values: Mapping[str, object]) -> str:
    return point_name(source, values) if values else source


def replicates(runs: Sequence[NamedRun]) -> dict[str, tuple[str, ...]]:
    """Return each group of runs that differ in their seed alone: its name -> theirs."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in runs:
        if entry.group is not None:
            found[entry.group] = (*found.get(entry.group, ()), entry.name)
    return found


def _key_problems(source: str, raw: Raw) -> Iterator[Problem]:
    sweep = raw.get("sweep")
    leaves = leaf_keys(run_schema())
    for key in sweep if isinstance(sweep, Mapping) else ():
        path = ("runs", source, "sweep", key)
        group, _, leaf = str(key).rpartition(".")
        if member := setting_of(str(key)):
            yield from _member_problems(raw, path, member[0])
            continue
        if key in sweep_keys():
            if group and group in raw and raw[group] is None:
                yield Problem(
                    path,
                    f"has no meaning beside {group}: null, which leaves nothing with a {leaf}; take"
                    " one of them out",
                )
            continue
        if key == "seeds":
            text = (
                "unknown key; it stands beside the sweep, whose points are trained with every seed"
            )
            yield Problem(path, f"{text}: move it one step out")
            continue
        below = [leaf for leaf in leaves if leaf.startswith(f"{key}.")]
        ending = [leaf for leaf in sweep_keys() if leaf.endswith(f".{key}")]
        if key in leaves:
            yield Problem(path, "does not change the result; a sweep has no use for it")
        elif below:
            yield Problem(path, f"is a group; keys in it are: {', '.join(below)}")
        else:
            hint = f"did you mean {ending[0]!r}? " if ending else nearest(key, sweep_keys())
            known = f"{hint}keys to sweep are: {', '.join(sweep_keys())}"
            said = "" if ending else say_meanings(str(key), path)
            yield Problem(path, f"unknown key; {said or known}")


def _member_problems(raw: Raw, path: tuple[str | int, ...], name: str) -> Iterator[Problem]:
    """Yield why what is swept of a dataset is of none that the run names."""
    if DATASET in (raw.get("sweep") or {}):
        text = f"and a sweep over {DATASET} both say what is trained on; take one of them out"
        yield Problem(path, text)
        return
    found = members(raw.get(DATASET))
    known = [str(one) for one in found] if isinstance(found, Mapping) else []
    if name not in known:
        text = f"names no dataset of the run; {nearest(name, known)}it names: {', '.join(known)}"
        yield Problem(path, text)


def _seed_problems(source: str, raw: Raw) -> Iterator[Problem]:
    """Yield why the seeds of a run tell nothing, or contradict what else is said of its seed."""
    if not _has_seeds(raw):
        return  # the schema's to report
    seeds = raw["seeds"]
    path = ("runs", source, "seeds")
    if len(seeds) == 1:
        yield Problem(
            path,
            f"{shown(seeds)} is one seed, which shows no spread; give two or more (three tell"
            f" more), or write training: {{seed: {shown(seeds[0])}}}",
        )
    if twice := [seed for index, seed in enumerate(seeds) if seed in seeds[:index]]:
        text = f"names the seed {shown(twice[0])} twice, which would train the same adapter again"
        yield Problem(path, f"{text}; take one out")
    training, sweep = raw.get("training"), raw.get("sweep")
    if isinstance(training, Mapping) and "seed" in training:
        yield Problem(path, "and training.seed both say what the seed is; take one of them out")
    if isinstance(sweep, Mapping) and SEED in sweep:
        text = f"and the sweep over {SEED} both say what the seeds are; keep `seeds`, whose runs"
        yield Problem(path, f"{text} are summed up, and take the other out")


def _value_problems(source: str, raw: Raw) -> Iterator[Problem]:
    """Try every swept value by itself, so that each wrong one is found once."""
    first = first_point(raw)
    for key, values in swept(raw).items():
        for index, value in enumerate(values):
            path = (*place_of(source, raw, key), index)
            if isinstance(value, list | tuple | Mapping):
                yield Problem(path, f"{shown(value)} is refused; allowed: single values")
                continue
            try:
                Run.model_validate(at_point(raw, {**first, key: value}))
            except ValidationError as error:
                for problem in problems_of(error, run_schema()):
                    if problem.path == tuple(split_key(key)):
                        yield Problem(path, problem.text)


def _point_problems(
    source: str, raw: Raw, point: Mapping[str, object], error: ValidationError
) -> Iterator[Problem]:
    """Yield what values that are good one by one cannot be together, with the run's name.

    What is wrong at the first point is the schema's to report, which sees that one.
    """
    try:
        Run.model_validate(at_point(raw, first_point(raw)))
        known = []
    except ValidationError as first:
        known = problems_of(first, run_schema())
    for problem in problems_of(error, run_schema()):
        if problem not in known:
            key = ".".join(map(str, problem.path))
            path = place_of(source, raw, key) if key in point else ("runs", source, *problem.path)
            yield Problem(path, f"{problem.text} (in the run {_name(source, point)})")


def place_of(source: str, raw: Raw, key: str) -> tuple[str | int, ...]:
    """Return where the values of a swept key are written."""
    if key == SEED and _has_seeds(raw):
        return ("runs", source, "seeds")
    return ("runs", source, "sweep", key)


def _value_at(run: Run, key: str) -> object:
    value: object = run
    for part in split_key(key):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def _name_problems(runs: Sequence[NamedRun], maker: str) -> Iterator[Problem]:
    for entry in runs:
        if entry.name == entry.source:
            continue
        try:
            check_name(entry.name)
        except PydanticCustomError as error:
            path = ("runs", entry.source, maker)
            yield Problem(path, f"makes the run {entry.name!r}, which {error.message()}")

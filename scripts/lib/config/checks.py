"""What no single field can tell: sweeps, references, and names that clash."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from scripts.lib.config.fields import check_name
from scripts.lib.config.problems import (
    Problem,
    Schema,
    is_unknown,
    nearest,
    problems_of,
    resolve,
    shown,
)
from scripts.lib.config.runs import Publish, Run
from scripts.lib.config.sweep import GRID_LIMIT, at_point, grid_points, grid_size, point_name
from scripts.lib.train.faults import lora_faults

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class NamedRun:
    """A run after the expansion of sweeps.

    Attributes:
        source: Its key in the file.
        name: Its name; differs from *source* when that has a sweep.
        run: Its settings.
    """

    source: str
    name: str
    run: Run


def leaf_keys(schema: Schema) -> dict[str, Schema]:
    """Return the dotted keys of a class's settings, without its groups, with their schemas."""
    found: dict[str, Schema] = {}
    for key, node in schema.get("properties", {}).items():
        node = resolve(node, schema)
        if "properties" in node:
            below = {**node, "$defs": schema.get("$defs", {})}
            found |= {f"{key}.{leaf}": inner for leaf, inner in leaf_keys(below).items()}
        else:
            found[key] = node
    return found


@cache
def run_schema() -> Schema:
    """Return the JSON schema of a run without a sweep."""
    return Run.model_json_schema()


@cache
def sweep_keys() -> tuple[str, ...]:
    """Return the keys that a sweep can vary: those that change the result."""
    leaves = leaf_keys(run_schema())
    return tuple(key for key, node in leaves.items() if node["kind"] == "identity")


def swept(run: object) -> dict[str, Sequence[object]]:
    """Return the well-formed part of a raw run's sweep: known keys with lists of values."""
    sweep = run.get("sweep") if isinstance(run, Mapping) else None
    if not isinstance(sweep, Mapping):
        return {}
    return {
        key: values
        for key, values in sweep.items()
        if key in sweep_keys() and isinstance(values, list | tuple) and values
    }


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
    problems = [*_key_problems(source, raw), *_value_problems(source, raw)]
    sweep = swept(raw)
    if problems:
        return [], problems
    if grid_size(sweep) > GRID_LIMIT:
        text = f"makes {grid_size(sweep)} runs; allowed: at most {GRID_LIMIT}"
        return [], [Problem(("runs", source, "sweep"), text)]
    runs = []
    for point in grid_points(sweep):
        try:
            run = Run.model_validate(at_point(raw, point))
        except ValidationError:
            return [], []
        values = {key: _value_at(run, key) for key in point}
        runs.append(NamedRun(source, point_name(source, values) if values else source, run))
    return runs, list(_name_problems(runs))


def _key_problems(source: str, raw: Raw) -> Iterator[Problem]:
    sweep = raw.get("sweep")
    leaves = leaf_keys(run_schema())
    for key in sweep if isinstance(sweep, Mapping) else ():
        if key in sweep_keys():
            continue
        path = ("runs", source, "sweep", key)
        below = [leaf for leaf in leaves if leaf.startswith(f"{key}.")]
        ending = [leaf for leaf in sweep_keys() if leaf.endswith(f".{key}")]
        if key in leaves:
            yield Problem(path, "does not change the result; a sweep has no use for it")
        elif below:
            yield Problem(path, f"is a group; keys in it are: {', '.join(below)}")
        else:
            hint = f"did you mean {ending[0]!r}? " if ending else nearest(key, sweep_keys())
            yield Problem(path, f"unknown key; {hint}keys to sweep are: {', '.join(sweep_keys())}")


def _value_problems(source: str, raw: Raw) -> Iterator[Problem]:
    """Try every swept value by itself, so that each wrong one is found once."""
    first = first_point(raw)
    for key, values in swept(raw).items():
        for index, value in enumerate(values):
            path = ("runs", source, "sweep", key, index)
            if isinstance(value, list | tuple | Mapping):
                yield Problem(path, f"{shown(value)} is refused; allowed: single values")
                continue
            try:
                Run.model_validate(at_point(raw, {**first, key: value}))
            except ValidationError as error:
                for problem in problems_of(error, run_schema()):
                    if problem.path == tuple(key.split(".")):
                        yield Problem(path, problem.text)


def _value_at(run: Run, key: str) -> object:
    value: object = run
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _name_problems(runs: Sequence[NamedRun]) -> Iterator[Problem]:
    for entry in runs:
        if entry.name == entry.source:
            continue
        try:
            check_name(entry.name)
        except PydanticCustomError as error:
            path = ("runs", entry.source, "sweep")
            yield Problem(path, f"makes the run {entry.name!r}, which {error.message()}")


def reference_problems(raw: Raw) -> Iterator[Problem]:
    """Yield the models and datasets that runs and judges name and nobody declares."""
    yield from _judge_problems(raw)
    for name, run in entries(raw, "runs"):
        for key in ("model", "dataset"):
            declared = [str(known) for known, _ in entries(raw, f"{key}s")]
            for path, value in _values_of(name, run, key):
                if isinstance(value, str) and value not in declared:
                    yield Problem(path, is_unknown(value, key, declared))


def _judge_problems(raw: Raw) -> Iterator[Problem]:
    known = [str(name) for name, _ in entries(raw, "models")]
    for name, benchmark in entries(raw, "benchmarks"):
        judge = benchmark.get("judge") if isinstance(benchmark, Mapping) else None
        if not isinstance(judge, Mapping) or judge.get("endpoint"):
            continue
        model = judge.get("model")
        if isinstance(model, str) and model not in known:
            path = ("benchmarks", name, "judge", "model")
            yield Problem(path, is_unknown(model, "model", known))


def _values_of(name: str, run: object, key: str) -> list[tuple[tuple[str | int, ...], object]]:
    if not isinstance(run, Mapping):
        return []
    if key in swept(run):
        values = swept(run)[key]
        return [(("runs", name, "sweep", key, index), v) for index, v in enumerate(values)]
    return [(("runs", name, key), run.get(key))]


def entries(raw: Raw, section: str) -> list[tuple[str, Any]]:
    """Return the named entries of a section of the raw configuration, or none."""
    found = raw.get(section)
    return list(found.items()) if isinstance(found, Mapping) else []


def candidate_problems(raw: Raw, runs: Sequence[NamedRun]) -> Iterator[Problem]:
    """Yield the names that two runs, two combinations, or one and a model, would share."""
    whole = {name: name for name, run in entries(raw, "runs") if not swept(run)}
    for name, source in (whole | {entry.name: entry.source for entry in runs}).items():
        if any(name == model for model, _ in entries(raw, "models")):
            yield Problem(("runs", source), f"{name!r} is the name of a model too; rename one")
        if any(name == other for other, _ in entries(raw, "candidates")):
            yield Problem(("candidates", name), f"{name!r} is the name of a run too; rename one")
    for name, _ in entries(raw, "candidates"):
        if any(name == model for model, _ in entries(raw, "models")):
            yield Problem(("candidates", name), f"{name!r} is the name of a model too; rename one")
    makers: dict[str, list[str]] = {}
    for entry in runs:
        makers.setdefault(entry.name, []).append(entry.source)
    for name, (first, *others) in makers.items():
        for other in others:
            if other == first:
                text = f"makes the run {name!r} twice; take out the value that stands twice"
                yield Problem(("runs", other, "sweep"), text)
            else:
                text = f"and runs.{first} both make the run {name!r}; rename one"
                yield Problem(("runs", other), text)


def benchmark_problems(raw: Raw) -> Iterator[Problem]:
    """Yield the benchmarks whose score files, `{benchmark}.{category}.json`, would be confused."""
    seen: dict[str, str] = {}
    for name, _ in entries(raw, "benchmarks"):
        if not isinstance(name, str):
            continue
        plain = re.sub(r"[._-]+", "_", name)
        for other, other_name in seen.items():
            if plain == other or f"{name}.".startswith(f"{other_name}."):
                yield _clash(name, other_name)
            elif f"{other_name}.".startswith(f"{name}."):
                yield _clash(other_name, name)
        seen[plain] = name


def _clash(name: str, other: str) -> Problem:
    return Problem(
        ("benchmarks", name), f"is too like benchmarks.{other} to tell their files apart; rename it"
    )


def training_problems(runs: Sequence[NamedRun]) -> Iterator[Problem]:
    """Yield the settings that contradict each other, of every run that a sweep makes."""
    seen = set()
    for entry in runs:
        lora = entry.run.lora
        faults = lora_faults(
            init=lora.init,
            target_modules=lora.target_modules,
            use_dora=lora.use_dora,
            quantization=entry.run.quantization,
        )
        of_sweep = "" if entry.name == entry.source else f" (in the run {entry.name})"
        for fault in faults:
            if (entry.source, fault) in seen:  # one of a sweep tells of all
                continue
            seen.add((entry.source, fault))
            yield Problem(("runs", entry.source, *fault.key.split(".")), fault.text + of_sweep)


def publish_problems(
    section: str, wanted: Mapping[str, tuple[str, Publish, bool]], taken: dict[str, str]
) -> Iterator[Problem]:
    """Yield what cannot be published, or would be pushed over something else.

    Args:
        section: `runs` or `candidates`.
        wanted: Candidate -> its key in the file, its settings, and whether it is merged.
        taken: Place on the hub -> who goes there; it is filled.
    """
    for name, (source, publish, merged) in wanted.items():
        if publish.repo_id is None:
            continue
        path = (section, source, "publish", "repo_id")
        if not merged:
            yield Problem(path, "is for merged models, and this one has merge: false")
        place = f"{publish.repo_id}@{publish.revision or 'main'}"
        if place in taken:
            text = f"{name} and {taken[place]} would both be pushed to {place}"
            yield Problem(path, f"{text}; give each a repository or a revision of its own")
        taken.setdefault(place, name)

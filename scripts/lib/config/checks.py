"""What no single field can tell: references, names that clash, settings that contradict."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import chain
from typing import Any

from scripts.lib.config.expansion import NamedRun, Raw, place_of, replicates, swept
from scripts.lib.config.mixtures import DATASET, names_in
from scripts.lib.config.problems import Problem, is_unknown
from scripts.lib.config.runs import Publish
from scripts.lib.train.faults import SettingFault
from scripts.lib.train.lora_faults import lora_faults
from scripts.lib.train.optimization import OWN_SET, optimization_faults


def reference_problems(raw: Raw) -> Iterator[Problem]:
    """Yield the models and datasets that runs and judges name and nobody declares."""
    yield from _judge_problems(raw)
    for name, run in entries(raw, "runs"):
        for key in ("model", "dataset"):
            declared = [str(known) for known, _ in entries(raw, f"{key}s")]
            for path, value in _values_of(name, run, key):
                listed = names_in(value) if key == DATASET else [((), value)]
                for below, named in listed:
                    if isinstance(named, str) and named not in declared:
                        yield Problem((*path, *below), is_unknown(named, key, declared))
        yield from _set_problems(name, run, [str(known) for known, _ in entries(raw, "datasets")])


def _set_problems(name: str, run: object, declared: Sequence[str]) -> Iterator[Problem]:
    """Yield the datasets that a run is to be measured on, and nobody declares or all know."""
    sets = run.get("evaluate_on") if isinstance(run, Mapping) else None
    pairs = sets.items() if isinstance(sets, Mapping) else enumerate(sets or ())
    for place, value in pairs if isinstance(sets, Mapping | list | tuple) else ():
        path = ("runs", name, "evaluate_on", place)
        if isinstance(value, str) and value not in declared:
            yield Problem(path, is_unknown(value, "dataset", declared))
        elif isinstance(value, str) and isinstance(run, Mapping) and value == _only_dataset(run):
            text = f"is the dataset of the run, whose held-out rows are measured as {OWN_SET}"
            yield Problem(path, f"{value!r} {text}; leave it out")


def _only_dataset(run: Raw) -> object:
    """Return the name of the one dataset that a raw run trains on; None where there are several."""
    names = [name for _, name in names_in(run.get(DATASET))]
    return names[0] if len(names) == 1 else None


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
        return [((*place_of(name, run, key), index), v) for index, v in enumerate(values)]
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
    yield from _group_problems(raw, runs, {*whole, *(entry.name for entry in runs)})
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


def _group_problems(raw: Raw, runs: Sequence[NamedRun], names: Set[str]) -> Iterator[Problem]:
    """Yield the names for all runs of some seeds that are the name of something else, too."""
    sources = {entry.name: entry.source for entry in runs}
    others = {name for section in ("models", "candidates") for name, _ in entries(raw, section)}
    for name, members in replicates(runs).items():
        if name in names | others:
            text = f"{name!r} is the name for {', '.join(members)}, and of something else too"
            yield Problem(("runs", sources[members[0]]), f"{text}; rename one")


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
        lora, training = entry.run.lora, entry.run.training
        settings = {**vars(training), "learning_rate": entry.run.learning_rate}
        faults = optimization_faults(settings, training.max_steps)
        if lora is not None:
            quantised = entry.run.quantization, entry.run.double_quantization
            faults = chain(lora_faults(lora, *quantised), faults)
        if training.best_by not in (OWN_SET, *entry.run.evaluate_on):
            named = ", ".join((OWN_SET, *entry.run.evaluate_on))
            text = f"names no set that the run is measured on; allowed: {named} (evaluate_on)"
            faults = chain(faults, [SettingFault("training.best_by", text)])
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
            other = taken[place]
            text = f"{name} and {other} would both be pushed to {place}"
            remedy = "give each a repository or a revision of its own"
            if other in wanted and wanted[other][0] == source:
                remedy = "give the one to publish an entry of its own; it is not trained again"
            yield Problem(path, f"{text}; {remedy}")
        taken.setdefault(place, name)

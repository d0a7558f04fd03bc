"""What is wrong with a combination of runs, as far as the configuration alone can tell."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.lib.config.candidates import Combination
from scripts.lib.config.checks import NamedRun, entries, swept
from scripts.lib.config.problems import Problem, is_unknown
from scripts.lib.config.runs import Lora, Run

DOUBLING_INITS = ("pissa", "olora")
"""Starts whose adapters are saved at twice their rank, as an update of the unchanged model."""


def unknown_run_problems(raw: Mapping[str, Any], runs: Sequence[NamedRun]) -> Iterator[Problem]:
    """Yield what combinations name and no run is called.

    Args:
        raw: The configuration as written.
        runs: Its runs, sweeps expanded; one with an error of its own is not among them.
    """
    whole = [str(name) for name, run in entries(raw, "runs") if not swept(run)]
    known = list(dict.fromkeys([*whole, *(run.name for run in runs)]))
    for name, entry in entries(raw, "candidates"):
        combined = entry.get("combine") if isinstance(entry, Mapping) else None
        for run in combined if isinstance(combined, Mapping) else ():
            if isinstance(run, str) and run not in known:
                yield Problem(("candidates", name, "combine", run), _unknown(run, raw, runs, known))


def _unknown(
    run: str, raw: Mapping[str, Any], runs: Sequence[NamedRun], known: Sequence[str]
) -> str:
    if any(run == name for name, _ in entries(raw, "candidates")):
        return "is a combination itself; name the runs that it is made of"
    points = [entry.name for entry in runs if entry.source == run]
    if points:
        return f"is a sweep; name its runs: {', '.join(points)}"
    return is_unknown(run, "run", known)


def combination_problems(
    combinations: Mapping[str, Combination],
    runs: Mapping[str, Run],
    templates: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield why the adapters of some runs cannot be combined as asked.

    Args:
        combinations: What to combine.
        runs: All runs, sweeps expanded.
        templates: Run -> its chat template: its own, else its model's.
    """
    for name, combination in combinations.items():
        (first, *_) = combination.combine
        for run in combination.combine:
            path = ("candidates", name, "combine", run)
            yield from (Problem(path, text) for text in _kind_problems(runs[run].lora))
            if runs[run].model != runs[first].model:
                yield Problem(
                    path,
                    f"tunes {runs[run].model}, and {first} tunes {runs[first].model}; combine runs"
                    " on one model",
                )
            if templates[run] != templates[first]:
                yield Problem(
                    path,
                    f"has the chat template {templates[run]}, and {first} has {templates[first]};"
                    " the combination could carry only one of them",
                )
        if not combination.needs_equal_ranks:
            continue
        ranks = {run: saved_rank(runs[run].lora) for run in combination.combine}
        if len(set(ranks.values())) > 1:
            told = ", ".join(f"{run} {rank}" for run, rank in ranks.items())
            yield Problem(
                ("candidates", name, "method"),
                f"{combination.method!r} needs adapters of one rank, and these have: {told};"
                " cat, svd and the methods ending in svd do not",
            )


def _kind_problems(lora: Lora) -> Iterator[str]:
    """Yield why an adapter of this kind cannot be combined at all."""
    if lora.use_dora:
        yield "trains DoRA magnitudes, which have no weighted sum; combine runs without use_dora"
    if lora.bias != "none":
        yield f"trains biases ({lora.bias}), which no method combines; combine runs with bias: none"


def saved_rank(lora: Lora) -> int:
    """Return the rank of the adapter as training saves it."""
    return lora.r * (2 if lora.init in DOUBLING_INITS else 1)

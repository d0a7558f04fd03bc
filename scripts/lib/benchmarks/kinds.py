"""The kinds of benchmarks: which module does what of a kind, as data.

A stage's program knows no kind. It asks here for the module of the artifact's kind, so that a
change in one kind makes only the artifacts of that kind anew (artifacts/code_digest.py counts these
modules apart). Nothing else of the project imports by a name that is no statement.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

_HERE = "scripts.lib.benchmarks"

FILES: Mapping[str, str] = {
    "fetch_benchmark": "fetch",
    "find_contamination": "texts",
    "score_benchmark": "questions",
    "aggregate_scores": "scores",
    "compare_runs": "comparison",
    "write_report": "report",
    "publish": "card",
}
"""Rule -> the file in a kind's folder that is read by the program of that rule."""


def _of(kind: str, files: str) -> dict[str, str]:
    """Return rule -> module, where the kind's folder has these files."""
    return {rule: f"{_HERE}.{kind}.{file}" for rule, file in FILES.items() if file in files.split()}


# The answers to MMLU's questions are choices, as those to a user's own are.
_CHOICES = {"aggregate_scores": f"{_HERE}.multiple_choice.scores"}

MODULES: Mapping[str, Mapping[str, str]] = {
    "mmlu": _of("mmlu", "fetch texts questions report") | _CHOICES,
    "multiple_choice": _of("multiple_choice", "fetch texts questions scores report"),
    "exact_match": _of("exact_match", "fetch texts questions scores report"),
    "lm_eval": _of("lm_eval", "fetch texts questions scores report"),
    "held_out": _of("held_out", "texts questions scores comparison report card"),
    "judged_pairs": _of("judged_pairs", "fetch texts questions scores comparison report card"),
}
"""Kind -> rule -> module of that kind for the program of that rule; none where a kind has nothing
of its own there."""


def modules_of(rule: str, kinds: Iterable[str]) -> list[str]:
    """Return the modules that the program of a rule uses for benchmarks of these kinds."""
    return sorted({MODULES[kind][rule] for kind in kinds if rule in MODULES[kind]})


def load(rule: str, kind: str) -> Any:
    """Return the module of a kind for the program of a rule."""
    return importlib.import_module(MODULES[kind][rule])


def planning(kind: str) -> Any:
    """Return the module that finds the questions of a kind, which are fetched, at planning."""
    return importlib.import_module(_planning_module(kind))


def planning_modules() -> list[str]:
    """Return the modules of all kinds that find questions at planning."""
    return [_planning_module(kind) for kind in MODULES if "fetch_benchmark" in MODULES[kind]]


def _planning_module(kind: str) -> str:
    return f"{_HERE}.{kind}.plan"

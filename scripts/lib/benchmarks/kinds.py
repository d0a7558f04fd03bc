"""The kinds of benchmarks: which module does what of a kind, as data.

A stage's program knows no kind. It asks here for the module of the artifact's kind, so that a
change in one kind makes only the artifacts of that kind anew (artifacts/code_digest.py counts these
modules apart). Nothing else of the project imports by a name that is no statement.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

MODULES: Mapping[str, Mapping[str, str]] = {
    "mmlu": {
        "fetch_benchmark": "scripts.lib.benchmarks.mmlu.fetch",
        "score_benchmark": "scripts.lib.benchmarks.mmlu.questions",
        "aggregate_scores": "scripts.lib.benchmarks.multiple_choice.scores",
        "write_report": "scripts.lib.benchmarks.mmlu.report",
    },
    "multiple_choice": {
        "fetch_benchmark": "scripts.lib.benchmarks.multiple_choice.fetch",
        "score_benchmark": "scripts.lib.benchmarks.multiple_choice.questions",
        "aggregate_scores": "scripts.lib.benchmarks.multiple_choice.scores",
    },
    "exact_match": {
        "fetch_benchmark": "scripts.lib.benchmarks.exact_match.fetch",
        "score_benchmark": "scripts.lib.benchmarks.exact_match.questions",
        "aggregate_scores": "scripts.lib.benchmarks.exact_match.scores",
    },
    "lm_eval": {
        "fetch_benchmark": "scripts.lib.benchmarks.lm_eval.fetch",
        "score_benchmark": "scripts.lib.benchmarks.lm_eval.questions",
        "aggregate_scores": "scripts.lib.benchmarks.lm_eval.scores",
    },
    "held_out": {
        "score_benchmark": "scripts.lib.benchmarks.held_out.questions",
        "aggregate_scores": "scripts.lib.benchmarks.held_out.scores",
        "compare_runs": "scripts.lib.benchmarks.held_out.comparison",
        "write_report": "scripts.lib.benchmarks.held_out.report",
    },
    "judged_pairs": {
        "fetch_benchmark": "scripts.lib.benchmarks.judged_pairs.fetch",
        "score_benchmark": "scripts.lib.benchmarks.judged_pairs.questions",
        "aggregate_scores": "scripts.lib.benchmarks.judged_pairs.scores",
        "compare_runs": "scripts.lib.benchmarks.judged_pairs.comparison",
        "write_report": "scripts.lib.benchmarks.judged_pairs.report",
    },
}
"""Kind -> rule -> module of that kind for the program of that rule; none where a kind has nothing
of its own there."""


def modules_of(rule: str, kinds: Iterable[str]) -> list[str]:
    """Return the modules that the program of a rule uses for benchmarks of these kinds."""
    return sorted({MODULES[kind][rule] for kind in kinds if rule in MODULES[kind]})


def load(rule: str, kind: str) -> Any:
    """Return the module of a kind for the program of a rule."""
    return importlib.import_module(MODULES[kind][rule])

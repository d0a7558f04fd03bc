"""The kinds of benchmarks: which module does what of a kind, as data.

A stage's program knows no kind. It asks here for the module of the artifact's kind, so that a
change in one kind makes only the artifacts of that kind anew (code.py counts these modules apart).
Nothing else of the project imports by a name that is no statement.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

MODULES: Mapping[str, Mapping[str, str]] = {
    "mmlu": {
        "fetch_benchmark": "scripts.lib.mmlu_fetch",
        "score_benchmark": "scripts.lib.mmlu_questions",
        "aggregate_scores": "scripts.lib.choice_scores",
        "write_report": "scripts.lib.legacy_results",
    },
    "multiple_choice": {
        "fetch_benchmark": "scripts.lib.multiple_choice_fetch",
        "score_benchmark": "scripts.lib.multiple_choice_questions",
        "aggregate_scores": "scripts.lib.choice_scores",
    },
    "exact_match": {
        "fetch_benchmark": "scripts.lib.exact_match_fetch",
        "score_benchmark": "scripts.lib.exact_match_questions",
        "aggregate_scores": "scripts.lib.exact_match_scores",
    },
    "lm_eval": {
        "fetch_benchmark": "scripts.lib.lm_eval_fetch",
        "score_benchmark": "scripts.lib.lm_eval_scoring",
        "aggregate_scores": "scripts.lib.lm_eval_scores",
    },
    "held_out": {
        "score_benchmark": "scripts.lib.held_out_questions",
        "aggregate_scores": "scripts.lib.held_out",
        "compare_runs": "scripts.lib.comparison_held_out",
        "write_report": "scripts.lib.report_held_out",
    },
    "judged_pairs": {
        "fetch_benchmark": "scripts.lib.judged_pairs_fetch",
        "score_benchmark": "scripts.lib.judged_questions",
        "aggregate_scores": "scripts.lib.judged_scores",
        "compare_runs": "scripts.lib.comparison_judged",
        "write_report": "scripts.lib.report_judged",
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

"""How the benchmarks of a config are asked and summed up, as the stages' specs hold it."""

from typing import Any

from scripts.lib.artifacts.graph import Gate
from scripts.lib.config.benchmarks import Benchmark, ExactMatch, MultipleChoice
from scripts.lib.config.held_out import HeldOut
from scripts.lib.config.lm_eval import LmEval
from scripts.lib.plan.sources import Place


def protocol(benchmark: Benchmark) -> dict[str, Any]:
    """Return how a benchmark is asked: all of its identity but its subjects and their map."""
    asked = benchmark.model_dump(
        include={
            *("kind", "shots", "chat_template", "limit", "dtype", "max_new_tokens"),
            *("on_long_prompt", "backend"),
        }
    )
    return {
        "shots": 0,
        "chat_template": True,
        "max_new_tokens": None,
        "on_long_prompt": "error",
        "backend": "shared-prefix",
        **asked,
    }


def task_gates(benchmark: Benchmark, place: Place) -> tuple[Gate, ...]:
    """Return what of lm-eval's tasks may forbid to ask them."""
    if not isinstance(benchmark, LmEval):
        return ()
    code = () if benchmark.run_generated_code else (Gate("unsafe_code", place.id),)
    metric = (Gate("metric", place.id, benchmark.metric),) if benchmark.metric else ()
    return (*code, *metric)


def metric(benchmark: Benchmark) -> dict[str, Any] | None:
    """Return how the generated answers of a benchmark are judged, or which metric counts."""
    if isinstance(benchmark, LmEval):
        return {"task_metric": benchmark.metric}
    if not isinstance(benchmark, ExactMatch):
        return None
    return {
        "name": benchmark.metric,
        "pattern": benchmark.pattern,
        "ignore_case": benchmark.ignore_case,
    }


def category_map(benchmark: Benchmark) -> str:
    """Return how the scores of a benchmark are summed up."""
    if isinstance(benchmark, HeldOut):
        return "held_out"
    if isinstance(benchmark, MultipleChoice):
        return "column" if benchmark.category_column else "none"
    if isinstance(benchmark, LmEval):
        return "tasks"
    return str(getattr(benchmark, "categories", "none"))


def subjects_of(benchmark: Benchmark, place: Place) -> tuple[str | None, ...]:
    """Return the wanted subjects of a benchmark, each with scores of its own.

    So another category map finds its scores made, and one more subject asks only that. None stands
    for all of a set that planning does not look into.
    """
    return getattr(benchmark, "subjects", None) or place.subjects or (None,)

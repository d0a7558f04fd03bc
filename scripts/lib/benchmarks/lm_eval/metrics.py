"""Which metrics of an lm-eval task can be compared question by question, and which one counts."""

from collections.abc import Mapping
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.registry import METRIC_REGISTRY

from scripts.lib.errors import ConfigError


def barred_metrics(task: Any) -> dict[str, str]:
    """Return the metrics that cannot be compared question by question, each with the reason."""
    better = task.higher_is_better()
    barred = {}
    for name, aggregate in task.aggregation().items():
        if aggregate is not mean:
            barred[name] = "is no mean over questions"
        elif not better.get(name, True):
            barred[name] = "is better when lower"
    return barred


def unknown_metrics(config: Any) -> list[str]:
    """Return the metrics of a task's config that lm-eval cannot know how to sum up."""
    return [
        str(metric["metric"])
        for metric in config.metric_list or ()
        if isinstance(metric, Mapping)
        and isinstance(metric.get("metric"), str)
        and "aggregation" not in metric
        and metric["metric"] not in METRIC_REGISTRY
    ]


def check_metrics(task: Any) -> None:
    """Refuse a task of whose metrics none can be compared.

    Raises:
        ConfigError: With what is wrong with each.
    """
    barred: Mapping[str, str] = barred_metrics(task)
    if not set(task.aggregation()) - set(barred):
        faults = ", ".join(f"{name} {fault}" for name, fault in barred.items())
        raise ConfigError(f"has no metric that can be compared question by question: {faults}")

"""What the report shows of time and memory: by stage, then step by step.

None of it decides a byte of an artifact that another stage reads: it is read from the part of
manifests that says how work was done, which is in no key.
"""

import math
from collections.abc import Sequence
from typing import TypedDict

from scripts.lib.amounts import duration
from scripts.lib.report.manifests import Execution, Manifest, Manifests, ReportedCandidate
from scripts.lib.report.steps import STAGES, steps_of, words_of


class CostView(TypedDict):
    """What a step took, or all steps of a stage together."""

    stage: str
    slug: str
    time: str
    share: float
    gpu: str
    memory: str
    found: str


class CostsView(TypedDict):
    """Time and memory in all, by stage and by step."""

    total: str
    stages: list[CostView]
    steps: list[CostView]


def costs(
    candidates: Sequence[ReportedCandidate], manifests: Manifests, plan: str | None
) -> CostsView | None:
    """Return time, GPU-hours and peak memory, each artifact counted once; None without any.

    Args:
        candidates: All of them.
        manifests: Manifests by artifact id.
        plan: The plan that the report is written under: what another made was found. None where
            that is not known.
    """
    steps = list(steps_of(candidates, manifests))
    if not steps:
        return None
    by_stage: dict[str, list[Manifest]] = {}
    for stage, made in steps:
        by_stage.setdefault(STAGES[stage], []).extend(made)
    counted = {name: f"{len(made):,}" for name, made in by_stage.items()}
    return {
        "total": _total([one for _, made in steps for one in made]),
        "stages": _views([(name, counted[name], made) for name, made in by_stage.items()], plan),
        "steps": _views([(STAGES[stage], words_of(made), made) for stage, made in steps], plan),
    }


def _views(
    steps: Sequence[tuple[str, str, Sequence[Manifest]]], plan: str | None
) -> list[CostView]:
    longest = max(_seconds(made) for _, _, made in steps) or 1
    return [
        {
            "stage": stage,
            "slug": slug,
            "time": duration(_seconds(made)),
            "share": round(100 * _seconds(made) / longest, 1),
            "gpu": _gpu_words(made),
            "memory": f"{max(one['execution']['peak_gib'] for one in made):.1f} GiB",
            "found": _found_words(made, plan),
        }
        for stage, slug, made in steps
    ]


def _total(made: Sequence[Manifest]) -> str:
    hours = _gpu_hours(made)
    words = f"{duration(_seconds(made))} in all"
    return f"{words}, {_hours(hours)} of GPUs" if hours else words


def _seconds(made: Sequence[Manifest]) -> float:
    return math.fsum(manifest["execution"]["seconds"] for manifest in made)


def _gpu_hours(made: Sequence[Manifest]) -> float:
    """Return the hours of one GPU: of several that worked together, each counts."""
    return math.fsum(
        one["execution"]["seconds"] * one["execution"].get("gpus", 0) / 3600 for one in made
    )


def _gpu_words(made: Sequence[Manifest]) -> str:
    names = sorted({_gpu(one["execution"]) for one in made} - {""})
    return f"{_hours(_gpu_hours(made))} of {', '.join(names)}" if names else "none"


def _gpu(execution: Execution) -> str:
    return execution.get("device", "a GPU") if execution.get("gpus") else ""


def _hours(hours: float) -> str:
    return f"{hours:.2f} h" if hours < 10 else f"{hours:,.1f} h"


def _found_words(made: Sequence[Manifest], plan: str | None) -> str:
    if plan is None:
        return ""
    found = sum(one["execution"].get("plan") != plan for one in made)
    if not found:
        return "no"
    return "yes" if found == len(made) else f"{found:,} of {len(made):,}"

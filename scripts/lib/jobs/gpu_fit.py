"""Which fine-tunes do not fit the GPUs that their jobs ask for, and what to change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.lib.jobs.forecast import Planned, memory_of, number_of, processes, trainings
from scripts.lib.jobs.gpu_memory import Gpu, asked_gpu
from scripts.lib.plan.missing import Plan
from scripts.lib.train.memory import WHOLE_SHARE

SHOWN = 10
"""Lines about one thing; a thousand runs of one kind are told once, with their number."""

Resources = Mapping[str, Mapping[str, Any]]
"""Fine-tunes that are about to be done -> the resources of their jobs."""


@dataclass(frozen=True)
class _Run:
    """One fine-tune beside its GPU."""

    name: str
    id: str
    planned: Planned
    gpu: Gpu
    given: Mapping[str, Any]
    quantized: bool

    @property
    def room(self) -> int:
        card = self.gpu.gib * 2**30
        # Processes that share the model out have what they need of it, each a part.
        shared = number_of(self.given, "fsdp", 0) or self.planned.need.fixed > WHOLE_SHARE * card
        return card * (processes(self.given) if shared and not self.quantized else 1)


def too_large(plan: Plan, resources: Resources) -> list[str]:
    """Return which fine-tunes cannot fit, whatever the micro batch.

    What is certain to be needed is held against the largest GPU of the name: weights, gradients and
    the optimizer's states. A job on a processor, or on a GPU whose name tells nothing, is left
    alone.
    """
    return _shortened(
        f"runs.{run.name}: {_gib(run.planned.need.fixed)} for weights, gradients and optimizer"
        f" alone do not fit the GPU that the job asks for, {run.gpu}. {_remedy(plan, run)}"
        for run in _runs(plan, resources)
        if run.planned.need.fixed > run.room
    )


def tight(plan: Plan, resources: Resources) -> list[str]:
    """Return which fine-tunes will hardly fit with one sequence in a pass, by the estimate."""
    return _shortened(
        f"runs.{run.name}: about {_gib(run.planned.least)} with one sequence in a pass will hardly"
        f" fit the GPU that the job asks for, {run.gpu}. Lower training.max_length_tokens, or what"
        f" else there is: {_remedy(plan, run)}"
        for run in _runs(plan, resources)
        if run.planned.need.fixed <= run.room < run.planned.least
    )


def _runs(plan: Plan, resources: Resources) -> Iterator[_Run]:
    for id, names in trainings(plan).items():
        given = resources.get(id, {})
        gpu = asked_gpu(given) if given and number_of(given, "gpu", 1) else None
        planned = memory_of(plan, id, given) if gpu else None
        if gpu and planned:
            quantized = bool(plan.graph.artifacts[id].spec.get("quantization"))
            yield _Run(names[0], id, planned, gpu, given, quantized)


def _remedy(plan: Plan, run: _Run) -> str:
    """Return what to write so that it would fit: of the settings only those that suffice."""
    spec = plan.graph.artifacts[run.id].spec
    ways = []
    if not spec.get("lora"):
        ways.append("train an adapter (a group `lora`)")
    for key, change in (
        ("training.dtype: bfloat16", {"training": {**spec["training"], "dtype": "bfloat16"}}),
        ("quantization: nf4", {"quantization": "nf4"}),
    ):
        if spec.get("lora") and any(spec.get(part) != value for part, value in change.items()):
            planned = memory_of(plan, run.id, run.given, change=change)
            if planned and planned.least <= run.room:
                ways.append(f"write {key}")
    if not run.quantized:
        more = "more" if processes(run.given) > 1 else "several"
        ways.append(f"ask for {more} GPUs, which share it out (gpu=N)")
    ways.append("ask for a larger GPU, or name a smaller model")
    text = ", or ".join(ways)
    return text[0].upper() + text[1:]


def _shortened(lines: Iterator[str]) -> list[str]:
    found = list(lines)
    more = [f"... and {len(found) - SHOWN} more runs like these"] if len(found) > SHOWN else []
    return found[:SHOWN] + more


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"

"""How long the jobs of a plan will take, by what was recorded of the nearest that were done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.lib.artifacts.store import Store
from scripts.lib.jobs.forecast import TRAINED_STAGES, forecast
from scripts.lib.plan.missing import Plan
from scripts.lib.plan.reasons import Reason

# The inputs by which the time of a job goes: where they have other bytes, it says nothing.
_DECISIVE = ("model", "base")


@dataclass(frozen=True)
class Expected:
    """The time of one job.

    Attributes:
        seconds: Of a job like it.
        device: What that one ran on.
        like: Its artifact.
    """

    seconds: float
    device: str
    like: str


def expected(plan: Plan, store: Store, reasons: Mapping[str, Reason]) -> dict[str, Expected]:
    """Return id -> the time of a job, for those of which one like it is recorded.

    A fine-tune goes by the tokens of its shards and the recorded rate on its model; any other job
    by the seconds of the nearest artifact of its stage, where that was made of the same model, or
    of one in whose place another is made.

    Args:
        plan: The plan.
        store: Results and caches.
        reasons: Of the plan, which name the nearest.
    """
    found = dict[str, Expected]()
    for id in plan.missing:
        artifact = plan.graph.artifacts[id]
        if artifact.stage in TRAINED_STAGES:
            hours = forecast(plan, store, id, (), {}).hours
            if hours:
                device, some = min(hours.items(), key=lambda one: one[1])
                found[id] = Expected(3600 * some, device, "recorded jobs on this model")
            continue
        beside = reasons[id].beside
        like = store.look(beside) if beside else None
        if like is None or not like.manifest["execution"].get("seconds"):
            continue
        if all(_alike(plan, reasons, id, edge, like.manifest["inputs"]) for edge in _DECISIVE):
            execution = like.manifest["execution"]
            device = str(execution.get("device") or execution.get("machine") or "unknown")
            found[id] = Expected(float(execution["seconds"]), device, like.id)
    return found


def _alike(
    plan: Plan,
    reasons: Mapping[str, Reason],
    id: str,
    edge: str,
    then: Mapping[str, Sequence[Mapping[str, str]]],
) -> bool:
    """Tell whether an input is what a recorded job read, or is made in the place of that."""
    now, was = plan.graph.artifacts[id].data.get(edge, ()), then.get(edge, ())
    if len(now) != len(was):
        return False
    for one, item in zip(now, was, strict=True):
        found, reason = plan.found.get(one), reasons.get(one)
        renewed = reason is not None and reason.beside == item["id"]
        if not (renewed or (found and found.content == item["content"])):
            return False
    return True

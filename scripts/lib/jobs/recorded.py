"""How fast fine-tunes were that recorded jobs have done, by device."""

import math
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from scripts.lib import files
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.jobs.gpu_memory import Gpu, gpu_of


def recorded_rates(
    store: Store, stage: str, model: Found | None, processes: int
) -> dict[str, float]:
    """Return device -> tokens per second, from jobs of a stage on a model that were recorded.

    A job that went on from a checkpoint says nothing: its seconds are those of the last attempt.

    Args:
        store: Results and caches.
        stage: The stage.
        model: The base; jobs on other bytes do not count.
        processes: How many train together.
    """
    if model is None:
        return {}
    rates: dict[str, list[float]] = {}
    for manifest in _manifests(store, stage):
        trained_on = [one["content"] for one in manifest["inputs"].get("model", ())]
        alike = manifest["execution"].get("processes") == processes
        if trained_on == [model.content] and alike and (rate := _rate(manifest)):
            rates.setdefault(manifest["execution"]["device"], []).append(rate)
    return {device: median(found) for device, found in rates.items()}


def _rate(manifest: Mapping[str, Any]) -> float | None:
    """Return the tokens per second of one recorded job, the time to load the model included."""
    facts, execution, loop = manifest["facts"], manifest["execution"], manifest["spec"]["training"]
    if execution.get("resumed") or not facts.get("train_sequences"):
        return None
    per_pass = math.ceil(facts["train_sequences"] / loop["batch_size"])
    tokens = facts["train_tokens"] * facts["steps"] / per_pass
    return float(tokens / execution["seconds"]) if execution["seconds"] else None


def _manifests(store: Store, stage: str) -> Iterator[Mapping[str, Any]]:
    """Yield the readable manifests of a stage, here and in the caches."""
    for path in store.manifests_of(stage):
        try:
            manifest = files.read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(manifest, Mapping) and manifest.get("stage") == stage:
            yield manifest


def fitting_hours(hours: Mapping[str, float], gpu: Gpu | None) -> dict[str, float]:
    """Return the hours on the GPU that a profile names; without one, on all that are recorded."""
    if gpu is None:
        return dict(hours)
    same = {device: known for device in hours if (known := gpu_of(device))}
    return {device: hours[device] for device, known in same.items() if known.model == gpu.model}

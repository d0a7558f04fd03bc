"""What a fine-tune says of itself: its history, answers and verdict, as files and as facts."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scripts.lib.adapters.records import ANSWERS_FILE, HISTORY_FILE, VERDICT_FILE
from scripts.lib.train.callbacks import LOSSES, is_loss

HISTORY_POINTS = 200  # enough to draw a curve; longer runs are averaged down to it


def write_records(
    out: Path,
    history: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    verdict: Mapping[str, Any],
) -> None:
    """Write what a training says of itself; without answers there is no file of them."""
    lines = [json.dumps(event, allow_nan=False) for event in history]
    (out / HISTORY_FILE).write_text("\n".join(lines) + "\n")
    if answers:
        lines = [json.dumps(answer, ensure_ascii=False) for answer in answers]
        (out / ANSWERS_FILE).write_text("\n".join(lines) + "\n")
    (out / VERDICT_FILE).write_text(json.dumps(verdict, indent=1) + "\n")


def thin(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the trainer's log as history events, at most HISTORY_POINTS of them for training.

    A longer log is averaged over equal windows of steps, each told at its last step. A figure that
    is no number becomes None, since JSON has no word for it.
    """
    steps = [entry for entry in log if "loss" in entry]
    window = max(1, math.ceil(len(steps) / HISTORY_POINTS))
    events = [_evaluation(one) for one in log if any(map(is_loss, one)) and "loss" not in one]
    for start in range(0, len(steps), window):
        part = steps[start : start + window]
        events.append({**part[-1], "loss": fmean(entry["loss"] for entry in part)})
    kept = ("step", "epoch", *LOSSES, "learning_rate", "grad_norm")
    chosen: list[dict[str, Any]] = [
        {key: _finite(event[key]) for key in kept if key in event} for event in events
    ]
    for event, source in zip(chosen, events, strict=True):
        if sets := source.get("set_losses"):
            event["set_losses"] = {name: _finite(loss) for name, loss in sets.items()}
    return sorted(chosen, key=lambda event: (event["step"], "loss" not in event))


def _evaluation(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of the log with the losses on other sets than the run's own by name."""
    keys = [key for key in entry if is_loss(key) and key not in LOSSES]
    named = {key.removeprefix("valid_").removesuffix("_loss"): entry[key] for key in keys}
    return {**entry, "set_losses": named}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

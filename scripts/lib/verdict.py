"""Read a training history and say in words how the training went.

    read_verdict([{"step": 1, "epoch": 0.1, "loss": 2.9}, ...])["verdict"]  # "healthy"

The rules are tried from the worst finding to the best; the first that holds gives the verdict.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, TypedDict

Verdict = Literal[
    "not_a_number", "diverging", "memorising", "overfitting", "no_learning", "healthy"
]
Event = Mapping[str, Any]

# Losses are nats per token, read as means over a tenth of the events at either end and over no
# fewer than three: one step's loss jumps by tens of per cent from batch to batch.
WINDOW_FRACTION = 0.1
WINDOW_MINIMUM = 3
# The last part is long enough to tell a trend, if it holds three windows.
LAST_PART_FRACTION = 1 / 3
# A mean of three steps wobbles by less; below 0.1 nats a relative rise means nothing.
DIVERGING_RISE = 0.15
DIVERGING_RISE_NATS = 0.1
# What the wobble of a short run can feign; a fine-tune that learns falls by tens of per cent.
NO_LEARNING_FALL = 0.03
# Held-out loss is measured on the same rows each time: it wobbles by 1-2 % without harm.
OVERFITTING_RISE = 0.03
# 0.1 nats per token: the right token gets 90 % on average, which unseen text does not allow.
MEMORISED_LOSS = 0.1
# Held-out text that is predicted this much worse: the rows were learnt, not the task.
MEMORISED_GAP = 0.5


class Reading(TypedDict):
    """A verdict with what it rests on: `verdict.json`."""

    verdict: Verdict
    evidence: str
    remedy: str
    numbers: dict[str, float | int | None]


REMEDIES: Mapping[Verdict, str] = {
    "not_a_number": "Lower learning_rate (a tenth of it is a good try), keep max_grad_norm at 1 or"
    " below, add warm-up, and look at the longest and the oddest rows of the dataset.",
    "diverging": "Lower learning_rate by a factor of 3 to 10, add warm-up, or use a larger"
    " batch_size.",
    "memorising": "Train for fewer epochs, add rows, lower r, or raise dropout; remove duplicate"
    " rows.",
    "overfitting": "Train for fewer epochs or set early_stopping_patience; lower r, raise dropout,"
    " or add rows.",
    "no_learning": "Raise learning_rate (1e-4 to 3e-4 is usual for LoRA), train longer, raise r,"
    " and check in the shards that the answers are trained on.",
    "healthy": "Nothing to mend in the curves; the scores decide.",
}


def read_verdict(history: Sequence[Event]) -> Reading:
    """Judge the loss curves of one fine-tune.

    Args:
        history: Events in the order of steps: `{"step", "epoch", "loss"}` for training and
            `{"step", "epoch", "valid_loss"}` for held-out rows. A loss that is not a number is
            None or NaN.
    """
    broken = [e["step"] for e in history for k in ("loss", "valid_loss") if _is_broken(e, k)]
    if broken:
        evidence = f"The loss is not a finite number from step {broken[0]} on."
        return _reading("not_a_number", evidence, {"first_broken_step": broken[0]})
    losses = [float(e["loss"]) for e in history if "loss" in e]
    if not losses:
        return _reading("no_learning", "The history holds no training step.", {"steps": 0})
    valid = [(int(e["step"]), float(e["valid_loss"])) for e in history if "valid_loss" in e]
    numbers = _numbers(losses, valid)
    rules: Mapping[Verdict, Callable[[Mapping[str, Any]], str | None]] = {
        "diverging": _diverging,
        "memorising": _memorising,
        "overfitting": _overfitting,
        "no_learning": _no_learning,
    }
    for verdict, rule in rules.items():
        if found := rule(numbers):
            return _reading(verdict, found, numbers)
    return _reading("healthy", _healthy(numbers), numbers)


def _is_broken(event: Event, key: str) -> bool:
    return key in event and (event[key] is None or not math.isfinite(event[key]))


def _reading(verdict: Verdict, evidence: str, numbers: Mapping[str, float | int | None]) -> Reading:
    return {
        "verdict": verdict,
        "evidence": evidence,
        "remedy": REMEDIES[verdict],
        "numbers": dict(numbers),
    }


def _numbers(
    losses: Sequence[float], valid: Sequence[tuple[int, float]]
) -> dict[str, float | int | None]:
    """Return the figures that the rules look at."""
    wanted = max(WINDOW_MINIMUM, round(len(losses) * WINDOW_FRACTION))
    window = max(1, min(wanted, len(losses) // 2))
    tail = losses[-round(len(losses) * LAST_PART_FRACTION) :]
    best = min(valid, key=lambda point: point[1]) if valid else None
    return {
        "events": len(losses),
        "first_loss": fmean(losses[:window]),
        "last_loss": fmean(losses[-window:]),
        "last_part_first_loss": fmean(tail[:window]) if len(tail) >= 2 * window else None,
        "first_valid_loss": valid[0][1] if valid else None,
        "best_valid_loss": best[1] if best else None,
        "best_valid_step": best[0] if best else None,
        "last_valid_loss": valid[-1][1] if valid else None,
    }


def _diverging(n: Mapping[str, Any]) -> str | None:
    for start, name in ((n["last_part_first_loss"], "its last third"), (n["first_loss"], "all")):
        if start is None:
            continue
        rise = n["last_loss"] - start
        if rise > DIVERGING_RISE_NATS and rise > DIVERGING_RISE * start:
            return (
                f"The train loss rose from {start:.3f} to {n['last_loss']:.3f}"
                f" over {name} of the run."
            )
    return None


def _memorising(n: Mapping[str, Any]) -> str | None:
    if n["last_loss"] >= MEMORISED_LOSS:
        return None
    valid = n["last_valid_loss"]
    if valid is None:
        return (
            f"The train loss fell to {n['last_loss']:.3f} nats per token (below {MEMORISED_LOSS}),"
            " and there are no held-out rows that could show it was more than memory."
        )
    if valid - n["last_loss"] <= MEMORISED_GAP:
        return None
    return (
        f"The train loss fell to {n['last_loss']:.3f} nats per token (below {MEMORISED_LOSS}),"
        f" while the valid loss stands at {valid:.3f}."
    )


def _overfitting(n: Mapping[str, Any]) -> str | None:
    best, last = n["best_valid_loss"], n["last_valid_loss"]
    if best is None or n["last_loss"] >= n["first_loss"]:
        return None
    if last <= best * (1 + OVERFITTING_RISE):
        return None
    return (
        f"The valid loss was lowest at step {n['best_valid_step']} ({best:.3f}) and rose by"
        f" {last / best - 1:.1%} to {last:.3f}, while the train loss fell from"
        f" {n['first_loss']:.3f} to {n['last_loss']:.3f}."
    )


def _no_learning(n: Mapping[str, Any]) -> str | None:
    pairs = [("train", n["first_loss"], n["last_loss"])]
    if n["first_valid_loss"] is not None:
        pairs.append(("valid", n["first_valid_loss"], n["best_valid_loss"]))
    if any(last < first * (1 - NO_LEARNING_FALL) for _, first, last in pairs):
        return None
    told = "; ".join(f"{name} {first:.3f} -> {last:.3f}" for name, first, last in pairs)
    return f"The loss hardly fell ({told}): by less than {NO_LEARNING_FALL:.0%}."


def _healthy(n: Mapping[str, Any]) -> str:
    told = f"The train loss fell from {n['first_loss']:.3f} to {n['last_loss']:.3f}"
    if n["last_valid_loss"] is None:
        return told + "; there are no held-out rows to check it on."
    return (
        f"{told}, the valid loss went from {n['first_valid_loss']:.3f}"
        f" to {n['last_valid_loss']:.3f}."
    )

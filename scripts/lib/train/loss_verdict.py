"""Read a training history, and answers, and say in words how the training went.

    assess_losses([{"step": 1, "epoch": 0.1, "loss": 2.9}, ...])["verdict"]  # "healthy"
    with_answers(reading, answers)["verdict"]  # "inconsistent_format"

The rules are tried from the worst finding to the best; the first that holds gives the verdict.
They look at losses as they are printed, at three digits, so that no sentence contradicts its own
numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from statistics import fmean
from typing import Any, Literal, TypedDict

from scripts.lib.train.answer_faults import Answer, tell_faults

LossVerdict = Literal[
    "not_a_number",
    "diverging",
    "memorising",
    "overfitting",
    "inconclusive",
    "no_learning",
    "inconsistent_format",
    "underfitting",
    "healthy",
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
# What the wobble of a short run can feign, up or down; a fine-tune that learns falls by tens of per
# cent.
WOBBLE = 0.03
# Held-out loss is measured on the same rows each time: it wobbles by 1-2 % without harm, and by a
# hundredth of a nat where it is next to nothing.
OVERFITTING_RISE = 0.03
OVERFITTING_RISE_NATS = 0.01
# 0.1 nats per token: the right token gets 90 % on average, which unseen text does not allow.
MEMORISED_LOSS = 0.1
# Held-out text that is predicted this much worse: the rows were learnt, not the task.
MEMORISED_GAP = 0.5
# So many times the train loss, and further than that gap above it: what is learnt of the rows is
# mostly no use elsewhere, though the valid loss does not rise. In a few epochs over rows enough the
# two stay within a factor of one and a half.
OVERFITTED_TIMES = 2.0
# A loss that levels off exponentially is taken for underfitted when more than this part of its
# whole fall is still to come at the end of the run.
UNDERFITTED_REST = 1 / 4
# A train loss that is not further than this below the valid loss is near it: what is between them
# is less than what batches differ by.
NEAR = 0.25
PRINTED_DIGITS = 3


class Reading(TypedDict):
    """A verdict with what it rests on: `verdict.json`."""

    verdict: LossVerdict
    evidence: str
    remedy: str
    numbers: dict[str, float | int | None]


REMEDIES: Mapping[LossVerdict, str] = {
    "not_a_number": "Lower learning_rate (a tenth of it is a good try), keep max_grad_norm at 1 or"
    " below, add warm-up, and look at the longest and the oddest rows of the dataset.",
    "diverging": "Lower learning_rate by a factor of 3 to 10, add warm-up, or use a larger"
    " batch_size.",
    "memorising": "Train for fewer epochs, add rows, lower r, or raise dropout; remove duplicate"
    " rows.",
    "overfitting": "Train for fewer epochs or set early_stopping_patience; lower r, raise dropout,"
    " or add rows.",
    "inconclusive": "Train longer or with a larger batch_size, and hold rows out (valid_fraction),"
    " so that the curves can tell; if the train loss still rises, lower learning_rate.",
    "no_learning": "Raise learning_rate (1e-4 to 3e-4 is usual for LoRA), train longer, raise r,"
    " and check in the shards that the answers are trained on.",
    "inconsistent_format": "Look with `make show` whether the end of every answer is trained"
    " (template, train_on) and whether the rows agree in form; train longer where the loss had not"
    " levelled off; what a base model's template needs stands in docs/base_models.md.",
    "underfitting": "Train for more epochs or steps, or raise learning_rate or r: the scores would"
    " gain by what the loss has yet to fall.",
    "healthy": "Nothing to mend in the curves; the scores decide.",
}


def assess_losses(history: Sequence[Event]) -> Reading:
    """Assess the loss curves of one fine-tune.

    Args:
        history: Events in the order of steps: `{"step", "epoch", "loss"}` for training and
            `{"step", "epoch", "valid_loss"}` for held-out rows. A loss that is not a number is
            None or NaN.
    """
    if broken := [event for event in history if _is_broken(event)]:
        numbers = {"first_broken_step": broken[0]["step"], "broken_events": len(broken)}
        return _reading("not_a_number", _broken(broken, history), numbers)
    train = [event for event in history if "loss" in event]
    if not train:
        return _reading("no_learning", "The history holds no training step.", {"steps": 0})
    losses = [float(event["loss"]) for event in train]
    valid = [(int(e["step"]), float(e["valid_loss"])) for e in history if "valid_loss" in e]
    numbers = _numbers(losses, valid) | _middles(train, valid)
    rules: Mapping[LossVerdict, Callable[[Mapping[str, Any]], str | None]] = {
        "diverging": _diverging,
        "memorising": _memorising,
        "overfitting": _overfitting,
        "inconclusive": _inconclusive,
        "no_learning": _no_learning,
        "underfitting": _underfitting,
    }
    for verdict, rule in rules.items():
        if found := rule(numbers):
            return _reading(verdict, found, numbers)
    return _reading("healthy", _healthy(numbers), numbers)


def with_answers(reading: Reading, answers: Sequence[Answer]) -> Reading:
    """Add what the answers of the finished model say to what its losses say.

    Answers without the form of their references are a verdict of their own where the curves have
    none, or one that leaves it open; elsewhere they are told beside it.

    Args:
        reading: Of the losses.
        answers: To held-out rows, of one step; there may be none.
    """
    if not answers:
        return reading
    faulty = sum(bool(answer["faults"]) for answer in answers)
    numbers = {**reading["numbers"], "answers": len(answers), "faulty_answers": faulty}
    told = tell_faults(answers)
    if not told:
        return {**reading, "numbers": numbers}
    if reading["verdict"] in ("healthy", "underfitting", "inconclusive"):
        return _reading("inconsistent_format", f"{told} {reading['evidence']}", numbers)
    return {**reading, "evidence": f"{reading['evidence']} {told}", "numbers": numbers}


def _is_broken(event: Event) -> bool:
    losses = [event[key] for key in ("loss", "valid_loss") if key in event]
    return any(loss is None or not math.isfinite(loss) for loss in losses)


def _broken(broken: Sequence[Event], history: Sequence[Event]) -> str:
    first = broken[0]
    name = "train" if "loss" in first else "valid"
    later = history[history.index(first) :]
    if len(broken) == len(later) > 1:
        return f"No loss is a finite number from step {first['step']} on."
    others = f", nor at {len(broken) - 1} later events" if len(broken) > 1 else ""
    return f"The {name} loss is not a finite number at step {first['step']}{others}."


def _reading(
    verdict: LossVerdict, evidence: str, numbers: Mapping[str, float | int | None]
) -> Reading:
    return {
        "verdict": verdict,
        "evidence": evidence,
        "remedy": REMEDIES[verdict],
        "numbers": dict(numbers),
    }


def _numbers(
    losses: Sequence[float], valid: Sequence[tuple[int, float]]
) -> dict[str, float | int | None]:
    """Return the figures that the rules look at, losses as they are printed."""
    window = _window(len(losses))
    tail = losses[-round(len(losses) * LAST_PART_FRACTION) :]
    best = min(valid, key=lambda point: point[1]) if valid else None
    figures = {
        "first_loss": fmean(losses[:window]),
        "last_loss": fmean(losses[-window:]),
        "last_part_first_loss": fmean(tail[:window]) if len(tail) >= 2 * window else None,
        "first_valid_loss": valid[0][1] if valid else None,
        "best_valid_loss": best[1] if best else None,
        "last_valid_loss": valid[-1][1] if valid else None,
    }
    return {
        "events": len(losses),
        "best_valid_step": best[0] if best else None,
        **{
            name: None if loss is None else round(loss, PRINTED_DIGITS)
            for name, loss in figures.items()
        },
    }


def _window(events: int) -> int:
    """Return how many events at either end a mean is taken over."""
    wanted = max(WINDOW_MINIMUM, round(events * WINDOW_FRACTION))
    return max(1, min(wanted, events // 2))


def _middles(
    train: Sequence[Event], valid: Sequence[tuple[int, float]]
) -> dict[str, float | int | None]:
    """Return both losses in the middle of the run, with the step and the part of the way there.

    The way is measured in summed learning rates, not in steps: with a rate that decays the loss
    levels off because of the rate alone, and a run that was much too short would look finished.
    """
    rates = [float(event.get("learning_rate") or 0.0) for event in train]
    ways = list(accumulate(rates if any(rates) else [1.0] * len(train), initial=0.0))
    steps = [int(event["step"]) for event in train]
    losses = [float(event["loss"]) for event in train]
    window, last = _window(len(train)), len(train)
    # The loss of a step is that of the weights before it. The three means share no event.
    starts = (0, *range(window, last - 2 * window + 1), last - window)
    means = [
        (
            fmean(ways[start : start + window]),
            fmean(losses[start : start + window]),
            steps[start + window // 2],
        )
        for start in (starts if last >= 3 * window else ())
    ]
    measured = [(ways[sum(one <= step for one in steps)], loss, step) for step, loss in valid]
    return _middle("", means) | _middle("valid_", measured)


def _middle(name: str, points: Sequence[tuple[float, float, int]]) -> dict[str, float | int | None]:
    """Return the point (way, loss, step) that is nearest to half of the way, if there is one."""
    figures: dict[str, float | int | None] = dict.fromkeys(
        (f"middle_{name}step", f"middle_{name}loss", f"middle_{name}way")
    )
    if not points or points[0][0] >= points[-1][0]:
        return figures
    begin, end = points[0][0], points[-1][0]
    found = [((way - begin) / (end - begin), loss, step) for way, loss, step in points[1:-1]]
    inner = [point for point in found if 0 < point[0] < 1]
    if not inner:
        return figures
    way, loss, step = min(inner, key=lambda point: abs(point[0] - 0.5))
    values = (step, round(loss, PRINTED_DIGITS), round(way, PRINTED_DIGITS))
    return dict(zip(figures, values, strict=True))


def _went(first: float, last: float) -> str:
    """Say which way a loss went."""
    if first == last:
        return f"stayed at {last:.{PRINTED_DIGITS}f}"
    way = "fell" if last < first else "rose"
    return f"{way} from {first:.{PRINTED_DIGITS}f} to {last:.{PRINTED_DIGITS}f}"


def _train_went(n: Mapping[str, Any]) -> str:
    """Say which way the train loss went over the whole run."""
    if n["events"] == 1:
        return f"train loss was logged once, at {n['last_loss']:.{PRINTED_DIGITS}f}"
    return f"train loss {_went(n['first_loss'], n['last_loss'])}"


def _valid_went(n: Mapping[str, Any]) -> str:
    """Say which way the valid loss went, its lowest point on the way included."""
    first, best, last = (n[f"{at}_valid_loss"] for at in ("first", "best", "last"))
    told = f"the valid loss {_went(first, last)}"
    return told if best == min(first, last) else f"{told} (lowest: {best:.{PRINTED_DIGITS}f})"


def _far_above(last: float, start: float) -> bool:
    return last - start > max(DIVERGING_RISE_NATS, DIVERGING_RISE * start)


def _train_rose(n: Mapping[str, Any]) -> bool:
    """Tell whether the train loss rose by more than it wobbles."""
    return bool(n["last_loss"] > n["first_loss"] * (1 + WOBBLE))


def _diverging(n: Mapping[str, Any]) -> str | None:
    spans = (("last_part_first_loss", "the last third of the run"), ("first_loss", "the run"))
    for start, span in spans:
        if n[start] is not None and _far_above(n["last_loss"], n[start]):
            return f"The train loss {_went(n[start], n['last_loss'])} over {span}."
    best, last = n["best_valid_loss"], n["last_valid_loss"]
    if best is None:
        return None
    start = n["first_valid_loss"]  # of the model as it came
    if _far_above(last, start) and _far_above(n["last_loss"], start):
        return (
            f"The valid loss {_went(start, last)}, and the train loss ended above that start too,"
            f" at {n['last_loss']:.{PRINTED_DIGITS}f}: training made the model worse on both."
        )
    if not _train_rose(n) or not _far_above(last, best):
        return None
    return (
        f"The valid loss was lowest at step {n['best_valid_step']} and {_went(best, last)} since,"
        f" and the {_train_went(n)}."
    )


def _memorising(n: Mapping[str, Any]) -> str | None:
    if n["last_loss"] >= MEMORISED_LOSS:
        return None
    told = (
        f"The train loss ended at {n['last_loss']:.{PRINTED_DIGITS}f} nats per token"
        f" (below {MEMORISED_LOSS})"
    )
    valid = n["last_valid_loss"]
    if valid is None:
        return f"{told}, and there are no held-out rows that could show it was more than memory."
    if valid - n["last_loss"] <= MEMORISED_GAP:
        return None
    return f"{told}, while the valid loss stands at {valid:.{PRINTED_DIGITS}f}."


def _overfitting(n: Mapping[str, Any]) -> str | None:
    best, last = n["best_valid_loss"], n["last_valid_loss"]
    if best is None or _train_rose(n):
        return None
    if last - best > max(OVERFITTING_RISE_NATS, OVERFITTING_RISE * best):
        share = f" (by {last / best - 1:.1%})" if best else ""
        return (
            f"The valid loss was lowest at step {n['best_valid_step']} and"
            f" {_went(best, last)}{share} since, while the {_train_went(n)}."
        )
    train = n["last_loss"]
    if last - train > MEMORISED_GAP and last > OVERFITTED_TIMES * train:
        return (
            f"The train loss ended at {train:.{PRINTED_DIGITS}f}, less than half of the valid loss,"
            f" which stands at {last:.{PRINTED_DIGITS}f}: the rows are learnt, the task much less."
        )
    return None


def _inconclusive(n: Mapping[str, Any]) -> str | None:
    if n["events"] == 1 and n["last_valid_loss"] is None:
        return (
            f"There is one train loss ({n['last_loss']:.{PRINTED_DIGITS}f}) and no valid loss:"
            " too little to tell how the training went."
        )
    if not _train_rose(n):
        return None
    told = f"The {_train_went(n)}"
    if n["last_valid_loss"] is not None:
        told += f", and {_valid_went(n)}"
    return f"{told}: batches can differ by that much, so the curves do not tell."


def _no_learning(n: Mapping[str, Any]) -> str | None:
    first, best = n["first_valid_loss"], n["best_valid_loss"]
    pairs = [(n["first_loss"], n["last_loss"])] + ([] if best is None else [(first, best)])
    if any(last < first * (1 - WOBBLE) for first, last in pairs):
        return None
    told = f"The {_train_went(n)}"
    if best is None:
        return f"{told}: a change of at most {WOBBLE:.0%} is none."
    return f"{told}, and {_valid_went(n)}: changes of at most {WOBBLE:.0%} are none."


def _underfitting(n: Mapping[str, Any]) -> str | None:
    # Held-out loss tells best; measured at both ends only, it leaves the middle to the train loss.
    name = "train" if n["middle_valid_loss"] is None else "valid"
    key, least = ("", DIVERGING_RISE) if name == "train" else ("valid_", OVERFITTING_RISE)
    first, middle, last = (n[f"{at}_{key}loss"] for at in ("first", "middle", "last"))
    if middle is None or last <= MEMORISED_LOSS or middle - last <= least * middle:
        return None
    if middle - last <= _share_after(n[f"middle_{key}way"]) * (first - last):
        return None
    valid = n["last_valid_loss"]
    if valid is not None and valid > n["last_loss"] * (1 + NEAR):
        return None
    told = (
        f"The {name} loss {_went(first, middle)} by step {n[f'middle_{key}step']} and"
        f" {_went(middle, last)} since: it had not levelled off when the run ended"
    )
    if valid is None:
        return f"{told}."
    other, end = ("valid", valid) if name == "train" else ("train", n["last_loss"])
    return f"{told}, with the {other} loss near it at {end:.{PRINTED_DIGITS}f}."


def _share_after(way: float) -> float:
    """Return which share of its fall a loss has after *way*, if UNDERFITTED_REST is still to come.

    A loss that levels off exponentially stands at rest ** way of its distance to the bottom; half
    of the way leaves a third of the fall, when a quarter is still to come at the end.
    """
    return float(UNDERFITTED_REST**way - UNDERFITTED_REST) / (1 - UNDERFITTED_REST)


def _healthy(n: Mapping[str, Any]) -> str:
    told = f"The {_train_went(n)}"
    if n["last_valid_loss"] is None:
        return f"{told}; there are no held-out rows to check it on."
    return f"{told}, {_valid_went(n)}."

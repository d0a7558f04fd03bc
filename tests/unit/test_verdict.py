import math

import pytest

from scripts.lib.verdict import read_verdict


def curve(losses, valid=None):
    """History with one train event per step and the valid losses spread evenly from step 0."""
    events = [{"step": i + 1, "epoch": 0.0, "loss": loss} for i, loss in enumerate(losses)]
    for i, loss in enumerate(valid or []):
        step = round(i * len(losses) / (len(valid) - 1))
        events.append({"step": step, "epoch": 0.0, "valid_loss": loss})
    return sorted(events, key=lambda event: event["step"])


def falling(start, end, steps=30):
    return [start + (end - start) * i / (steps - 1) for i in range(steps)]


MEMORISED = [*falling(2.5, 0.02), *[0.02] * 5]


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        (curve(falling(2.5, 1.2), [2.4, 1.6, 1.5]), "healthy"),
        (curve(falling(2.5, 1.2)), "healthy"),
        (curve(falling(2.5, 0.6), [2.4, 1.5, 1.9]), "overfitting"),
        (curve(MEMORISED, [2.4, 1.5, 1.45]), "memorising"),
        (curve(MEMORISED, [2.4, 0.2, 0.05]), "healthy"),
        (curve(MEMORISED), "memorising"),
        (curve([2.0, 2.02] * 15, [2.1, 2.1]), "no_learning"),
        (curve(falling(2.0, 1.0, 20) + falling(1.0, 1.9, 10)), "diverging"),
        (curve(falling(2.0, 2.6)), "diverging"),
        (curve([2.0, 1.9, math.nan, 1.8]), "not_a_number"),
        (curve([2.0, 1.9, None]), "not_a_number"),
        (curve([2.0, 1.0], [2.0, math.inf]), "not_a_number"),
    ],
)
def test_a_curve_gets_its_verdict(history, verdict):
    assert read_verdict(history)["verdict"] == verdict


def test_a_held_out_loss_that_wobbles_by_two_per_cent_is_no_overfitting():
    assert read_verdict(curve(falling(2.5, 1.2), [2.0, 1.50, 1.53]))["verdict"] == "healthy"


def test_a_noisy_short_run_that_learns_is_healthy():
    assert read_verdict(curve([2.6, 2.2, 2.5, 1.9, 2.2, 1.8, 2.0, 1.7]))["verdict"] == "healthy"


def test_no_learning_needs_a_flat_held_out_loss_too():
    assert read_verdict(curve([2.0, 2.02] * 15, [2.4, 2.0]))["verdict"] == "healthy"


def test_the_evidence_quotes_the_figures_it_rests_on():
    reading = read_verdict(curve(falling(2.5, 0.6), [2.4, 1.5, 1.9]))
    assert "step 15" in reading["evidence"]
    assert "1.500" in reading["evidence"]
    assert "26.7%" in reading["evidence"]
    assert reading["numbers"]["best_valid_step"] == 15
    assert "early_stopping_patience" in reading["remedy"]


def test_a_broken_loss_names_its_first_step():
    assert "step 3" in read_verdict(curve([2.0, 1.9, math.nan, math.nan]))["evidence"]


def test_an_empty_history_is_no_learning():
    assert read_verdict([])["verdict"] == "no_learning"

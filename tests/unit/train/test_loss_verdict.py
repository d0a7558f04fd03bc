import itertools
import math
import random
import re

import pytest

from scripts.lib.train.loss_verdict import REMEDIES, assess_losses, with_answers
from scripts.lib.train.training import with_break


def curve(losses, valid=None):
    """History with one train event per step and the valid losses spread evenly from step 0."""
    events = [{"step": i + 1, "epoch": 0.0, "loss": loss} for i, loss in enumerate(losses)]
    for i, loss in enumerate(valid or []):
        step = round(i * len(losses) / (len(valid) - 1))
        events.append({"step": step, "epoch": 0.0, "valid_loss": loss})
    return sorted(events, key=lambda event: event["step"])


def falling(start, end, steps=30):
    return [start + (end - start) * i / (steps - 1) for i in range(steps)]


def levelling(start, end, steps=30, constants=3.0):
    """A fall that levels off exponentially, so many time constants long."""
    return [end + (start - end) * math.exp(-constants * i / (steps - 1)) for i in range(steps)]


MEMORISED = [*falling(2.5, 0.02), *[0.02] * 5]


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        (curve(falling(2.5, 1.2), [2.4, 1.6, 1.5]), "healthy"),
        (curve(levelling(2.5, 1.2)), "healthy"),
        (curve(falling(2.5, 1.2)), "underfitting"),
        (curve(falling(2.5, 1.2), [2.4, 1.8, 1.2]), "underfitting"),
        (curve(falling(2.5, 1.2), [2.4, 1.2]), "underfitting"),
        (curve(falling(2.5, 0.6), [2.4, 1.8, 1.2]), "healthy"),
        (curve(falling(0.5, 0.02), [0.4, 0.2, 0.05]), "healthy"),
        (curve(falling(2.5, 0.6), [2.4, 1.5, 1.9]), "overfitting"),
        (curve(falling(2.5, 0.6), [2.4, 1.7, 1.65]), "overfitting"),
        (curve([1.9, 3.6, *falling(3.5, 2.0, 20)], [0.3, 2.4, 1.97]), "diverging"),
        (curve(MEMORISED, [2.4, 1.5, 1.45]), "memorising"),
        (curve(MEMORISED, [2.4, 0.2, 0.05]), "healthy"),
        (curve(MEMORISED), "memorising"),
        (curve([2.0, 2.02] * 15, [2.1, 2.1]), "no_learning"),
        (curve(falling(2.0, 1.0, 20) + falling(1.0, 1.9, 10)), "diverging"),
        (curve(falling(2.0, 2.6)), "diverging"),
        (curve([4.547] * 10 + [4.955] * 10, [5.0, 4.5, 4.4]), "inconclusive"),
        (curve([4.547] * 10 + [4.955] * 10), "inconclusive"),
        (curve([4.547] * 10 + [4.955] * 10, [5.0, 5.0]), "inconclusive"),
        (curve([2.0]), "inconclusive"),
        (curve(falling(2.0, 2.2), [2.4, 1.5, 1.9]), "diverging"),
        (curve([2.0] * 9, [2.4, 1.5, 1.9]), "overfitting"),
        (curve([2.0, 1.9, math.nan, 1.8]), "not_a_number"),
        (curve([2.0, 1.9, None]), "not_a_number"),
        (curve([2.0, 1.0], [2.0, math.inf]), "not_a_number"),
    ],
)
def test_a_curve_gets_its_verdict(history, verdict):
    assert assess_losses(history)["verdict"] == verdict


def test_a_held_out_loss_that_wobbles_by_two_per_cent_is_no_overfitting():
    assert assess_losses(curve(falling(2.5, 1.2), [2.0, 1.50, 1.53]))["verdict"] == "healthy"


def test_a_held_out_loss_of_next_to_nothing_that_rises_by_a_thousandth_is_no_overfitting():
    history = curve(levelling(2.5, 0.004, constants=9.0), [2.0, 0.003, 0.004])
    assert assess_losses(history)["verdict"] == "healthy"


def test_a_noisy_short_run_that_learns_is_healthy():
    assert assess_losses(curve([2.6, 2.2, 2.5, 1.9, 2.2, 1.8, 2.0, 1.7]))["verdict"] == "healthy"


def test_no_learning_needs_a_flat_held_out_loss_too():
    assert assess_losses(curve([2.0, 2.02] * 15, [2.4, 2.0]))["verdict"] == "healthy"


@pytest.mark.parametrize("scheduler", ["constant", "cosine"])
@pytest.mark.parametrize(("constants", "verdict"), [(1.0, "underfitting"), (2.0, "healthy")])
def test_a_run_is_underfitted_while_a_quarter_of_the_fall_is_to_come(scheduler, constants, verdict):
    """exp(-1.4) is a quarter; what the loss falls by follows the learning rate, not the steps."""
    steps = 40
    rates = [
        1.0 if scheduler == "constant" else 1 + math.cos(math.pi * i / steps) for i in range(steps)
    ]
    ways = [sum(rates[:i]) / sum(rates) for i in range(steps + 1)]
    at = [0.6 + 1.9 * math.exp(-constants * way) for way in ways]
    events = [
        {"step": i + 1, "loss": at[i], "learning_rate": 1e-4 * rates[i]} for i in range(steps)
    ]
    assert assess_losses(events)["verdict"] == verdict
    valid = [{"step": i, "valid_loss": at[i]} for i in (0, 10, 20, 40)]
    assert assess_losses(events + valid)["verdict"] == verdict


def test_an_underfitted_run_names_the_losses_and_what_to_raise():
    reading = assess_losses(curve(falling(2.5, 1.2), [2.4, 1.8, 1.2]))
    assert reading["evidence"] == (
        "The valid loss fell from 2.400 to 1.800 by step 15 and fell from 1.800 to 1.200 since: it"
        " had not levelled off when the run ended, with the train loss near it at 1.245."
    )
    assert "more epochs" in reading["remedy"]


def test_the_evidence_quotes_the_figures_it_rests_on():
    reading = assess_losses(curve(falling(2.5, 0.6), [2.4, 1.5, 1.9]))
    assert "step 15" in reading["evidence"]
    assert "1.500" in reading["evidence"]
    assert "26.7%" in reading["evidence"]
    assert reading["numbers"]["best_valid_step"] == 15
    assert "early_stopping_patience" in reading["remedy"]


def test_a_broken_loss_names_its_first_step():
    assert "step 3" in assess_losses(curve([2.0, 1.9, math.nan, math.nan]))["evidence"]


def answers(faulty, of=8):
    texts = {"step": 30, "row": "valid:0", "prompt": "?", "reference": "a", "answer": "b"}
    texts |= {"ended": True, "tokens": 1}
    return [texts | {"faults": ["without an end"] * (n < faulty)} for n in range(of)]


def test_answers_without_the_form_of_the_references_are_a_verdict_where_the_curves_have_none():
    reading = assess_losses(curve(levelling(2.5, 1.2)))
    found = with_answers(reading, answers(5))
    assert found["verdict"] == "inconsistent_format"
    assert found["evidence"] == (
        "Of 8 answers to held-out rows at step 30, 5 do not look like the references: 5 without an"
        f" end. {reading['evidence']}"
    )
    assert "make show" in found["remedy"]
    assert found["numbers"] == reading["numbers"] | {"answers": 8, "faulty_answers": 5}


def test_answers_are_told_beside_what_the_curves_say():
    reading = assess_losses(curve(falling(2.5, 0.6), [2.4, 1.5, 1.9]))
    found = with_answers(reading, answers(8))
    assert found["verdict"] == "overfitting"
    assert found["evidence"].startswith(reading["evidence"])
    assert "8 without an end" in found["evidence"]


@pytest.mark.parametrize("given", [[], answers(0), answers(1)])
def test_one_odd_answer_or_none_changes_no_verdict(given):
    reading = assess_losses(curve(levelling(2.5, 1.2)))
    found = with_answers(reading, given)
    assert (found["verdict"], found["evidence"]) == ("healthy", reading["evidence"])


def test_an_empty_history_is_no_learning():
    assert assess_losses([])["verdict"] == "no_learning"


def test_a_loss_that_is_finite_again_is_not_called_broken_from_there_on():
    evidence = assess_losses(curve([2.0, math.nan, 1.8, 1.7]))["evidence"]
    assert evidence == "The train loss is not a finite number at step 2."
    evidence = assess_losses(curve([2.0, 1.9, 1.8, 1.7], [2.0, math.inf, 1.8]))["evidence"]
    assert evidence == "The valid loss is not a finite number at step 2."


# From and to what, at both ends and at each place where a curve turns.
LEVELS = (0.0, 0.0004, 0.0449, 0.0996, 0.4, 2.0, 2.0004, 2.05, 2.2, 2.6, 4.547, 4.955, 30.0)


def curves():
    """Yield curves that rise, fall, stay and turn, with a valid split or without one."""
    for start, end in itertools.product(LEVELS, repeat=2):
        for steps in (1, 2, 12):
            losses = falling(start, end, steps) if steps > 1 else [start]
            yield curve(losses)
            for valid in itertools.product(LEVELS[2::4], repeat=3):
                yield curve(losses, valid)
    draw = random.Random(0)
    for _ in range(2000):
        losses = [draw.choice(LEVELS) * draw.uniform(0.9, 1.1) for _ in range(draw.randint(1, 40))]
        points = draw.choice((0, 2, 5))
        yield curve(losses, [draw.choice(LEVELS) for _ in range(points)])


@pytest.fixture(scope="module")
def readings():
    return [assess_losses(history) for history in curves()]


CHANGE = re.compile(r"(fell|rose) from ([0-9.]+\d) to ([0-9.]+\d)")


def test_what_fell_is_lower_and_what_rose_is_higher_in_print(readings):
    """The words agree with the two numbers beside them, whatever the curve."""
    for reading in readings:
        evidence = reading["evidence"]
        found = CHANGE.findall(evidence)
        assert len(found) == len(re.findall(r"fell|rose", evidence)), evidence
        for word, first, last in found:
            assert (float(last) < float(first)) == (word == "fell"), evidence
            assert first != last, evidence
        for loss, limit in re.findall(r"([0-9.]+) nats per token \(below ([0-9.]+)\)", evidence):
            assert float(loss) < float(limit), evidence
        printed = {float(text) for text in re.findall(r"\d+\.\d{3}", evidence)}
        assert printed <= set(reading["numbers"].values()), evidence


def test_every_verdict_on_finite_curves_was_among_them(readings):
    """So that the tests beside this one have looked at the sentences of each."""
    assert {reading["verdict"] for reading in readings} == set(REMEDIES) - {
        "not_a_number",
        "inconsistent_format",
    }


def test_no_run_is_healthy_whose_train_loss_rose_by_more_than_it_wobbles(readings):
    for reading in readings:
        numbers = reading["numbers"]
        if numbers["last_loss"] > 1.03 * numbers["first_loss"]:
            assert reading["verdict"] not in ("healthy", "no_learning"), reading


def test_what_is_called_no_learning_or_overfitting_is_so_in_print(readings):
    for reading in readings:
        n = reading["numbers"]
        if reading["verdict"] == "no_learning":
            assert abs(n["last_loss"] - n["first_loss"]) <= 0.03 * n["first_loss"] + 1e-9
        if reading["verdict"] == "overfitting":
            rose = n["last_valid_loss"] > n["best_valid_loss"]
            assert rose or n["last_valid_loss"] > 2 * n["last_loss"]


def test_a_loss_that_broke_behind_the_kept_weights_is_told_beside_their_verdict():
    history = curve([*falling(2.5, 1.2), math.nan], [2.4, 1.6, 1.5])
    kept = 24
    reading = assess_losses([event for event in history if event["step"] <= kept])
    said = with_break(reading, kept, history)
    assert said["verdict"] == reading["verdict"] != "not_a_number"
    assert said["evidence"] == (
        f"{reading['evidence']} The train loss is not a finite number at step 31. Training ended"
        " there, and the weights of step 24 are kept."
    )
    whole = [event for event in history if event["step"] <= 30]
    assert with_break(reading, kept, whole) == reading

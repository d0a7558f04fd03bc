"""Properties of alarms that measure work: the clock does not count, and endless work ends."""

import signal
import sys
import time

import pytest

from scripts.lib.benchmarks.lm_eval.work_alarms import alarms_by_work


class GaveUpError(Exception):
    """What the handler of an alarm raises."""


@pytest.fixture(autouse=True)
def handler():
    def give_up(*_):
        raise GaveUpError

    before = signal.signal(signal.SIGALRM, give_up)
    yield
    signal.signal(signal.SIGALRM, before)


def test_waiting_for_the_processor_is_no_work():
    with alarms_by_work() as rings:
        signal.alarm(1)
        time.sleep(1.2)
        signal.alarm(0)
    assert rings.count == 0


def calls_until_it_rings():
    made = 0

    def call():
        nonlocal made
        made += 1

    with alarms_by_work(calls_per_second=1000) as rings, pytest.raises(GaveUpError):
        signal.alarm(2)
        while True:
            call()
    assert rings.count == 1
    return made


def test_an_alarm_rings_after_the_same_work_every_time():
    # A call and its return, for each of them.
    assert calls_until_it_rings() == calls_until_it_rings() == pytest.approx(1000, abs=3)


def test_work_that_calls_nothing_is_ended_by_processor_time():
    with alarms_by_work(processor_seconds=0.05) as rings, pytest.raises(GaveUpError):
        signal.alarm(1)
        while True:
            pass
    assert rings.count == 1


def test_an_alarm_that_somebody_swallows_rings_again():
    heard = 0
    with alarms_by_work(calls_per_second=10, processor_seconds=0.05):
        signal.alarm(1)
        while heard < 3:
            try:
                while True:
                    pass
            except GaveUpError:
                heard += 1
    assert heard == 3


def test_afterwards_alarms_are_the_clock_s_again():
    with alarms_by_work(processor_seconds=0.05):
        signal.alarm(1)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert signal.alarm(0) == 0
    signal.alarm(60)
    assert signal.alarm(0) > 0


def test_what_was_simplified_before_makes_no_difference():
    sympy = pytest.importorskip("sympy")
    x = sympy.Symbol("x")

    def work():
        with alarms_by_work(calls_per_second=10**9) as rings:
            calls = 0

            def count(*_):
                nonlocal calls
                calls += 1

            sys.setprofile(count)
            sympy.simplify((x + 1) ** 6 - sympy.sin(x) ** 4)
            sys.setprofile(None)
        assert rings.count == 0
        return calls

    work()  # imports what it needs
    first = work()
    sympy.simplify(sympy.sin(x) ** 4)
    assert work() == first

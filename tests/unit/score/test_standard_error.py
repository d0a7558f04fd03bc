"""The standard error is that of the standard library's exact arithmetic, however it is counted."""

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.score.standard_error import standard_error

WHOLE = st.one_of(st.integers(-3, 3), st.integers(-(2**200), 2**200)).map(float)
ANY = st.floats(-1e3, 1e3)


@given(st.one_of(st.lists(WHOLE, min_size=2), st.lists(ANY, min_size=2)))
def test_it_is_the_deviation_of_the_sample_over_the_root_of_its_size(values):
    expected = statistics.stdev(values) / math.sqrt(len(values))
    assert standard_error(values) == expected


def test_below_two_values_there_is_none():
    assert standard_error([]) is standard_error([1.0]) is None

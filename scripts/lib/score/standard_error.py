"""The standard error of a score: one function for sums of answers and for their differences.

Apart from the tests of differences, which sums of answers do not depend on.
"""

import math
import statistics
from collections import Counter
from collections.abc import Sequence


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of a mean, None below two values.

    It is lm-eval's, the sample's standard deviation over sqrt(n): for right and wrong answers
    sqrt(p (1 - p) / (n - 1)).

    Example: 1 and 0 have standard error 0.5.
    """
    n = len(values)
    if n < 2:
        return None
    times = Counter(values)
    if all(float(value).is_integer() for value in times):
        # Whole numbers are counted: `statistics` takes a hundred times as long for the same bits.
        whole = [(int(value), count) for value, count in times.items()]
        total = sum(value * count for value, count in whole)
        squares = sum(value * value * count for value, count in whole)
        return _root(n * squares - total * total, n * (n - 1)) / math.sqrt(n)
    return statistics.stdev(values) / math.sqrt(n)


def _root(numerator: int, denominator: int) -> float:
    """Return the square root of a fraction, rounded once."""
    bits = 128
    return math.isqrt((numerator << 2 * bits) // denominator) / (1 << bits)

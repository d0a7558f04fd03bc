"""The standard error of a score: one function for sums of answers and for their differences.

Apart from the tests of differences, which sums of answers do not depend on.
"""

import math
import statistics
from collections.abc import Sequence


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of a mean, None below two values.

    It is lm-eval's, the sample's standard deviation over sqrt(n): for right and wrong answers
    sqrt(p (1 - p) / (n - 1)).

    Example: 1 and 0 have standard error 0.5.
    """
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None

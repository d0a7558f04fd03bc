"""Statistics of two candidates that answered the same questions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

# Below this p-value a difference is called better or worse. The usual convention, stated in the
# report together with how many comparisons were made.
SIGNIFICANCE = 0.05


def paired_difference(base: Sequence[bool], run: Sequence[bool]) -> dict[str, Any]:
    """Compare two candidates' answers to the same questions.

    Args:
        base: Right or wrong, per question.
        run: The same questions in the same order.

    Returns:
        `difference` (run minus base) and its `stderr`, both in percentage points, the latter None
        below two questions; `gained` and `lost`, the questions that flipped to right and to wrong;
        `n`; `p_value` of the exact two-sided McNemar test (McNemar, Psychometrika 12, 1947); and
        `verdict`: better, worse, undecided, or unchanged when no answer flipped.

    Example:
        Base right on 1 of 2, run on both: difference 50 points, standard error 50.
    """
    change = np.asarray(run, dtype=float) - np.asarray(base, dtype=float)
    n = len(change)
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    difference = 100 * (gained - lost) / n
    stderr = 100 * float(change.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    flipped = gained + lost
    p_value = float(binomtest(gained, flipped, 0.5).pvalue) if flipped else 1.0
    return {
        "difference": difference,
        "stderr": stderr,
        "gained": gained,
        "lost": lost,
        "n": n,
        "p_value": p_value,
        "verdict": _verdict(difference, p_value, flipped),
    }


def _verdict(difference: float, p_value: float, flipped: int) -> str:
    if not flipped:
        return "unchanged"
    if p_value >= SIGNIFICANCE:
        return "undecided"
    return "better" if difference > 0 else "worse"

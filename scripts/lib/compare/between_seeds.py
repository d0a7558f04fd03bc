"""Statistics of trainings that differ in their seed alone: the spread between seeds and questions.

All seeds answer the same questions, so that the mean effect has two sources of error: other seeds,
and other questions. Both are estimated from the differences d[k, i] of seed k and its base on
question i (two crossed random effects). Madaan et al., Quantifying Variance in Evaluation
Benchmarks (arXiv:2406.10229, 2024), measure the first, Miller, Adding Error Bars to Evals
(arXiv:2411.00640, 2024), the second; Dodge et al., Fine-Tuning Pretrained Language Models
(arXiv:2002.06305, 2020), show how large the first can be.

    mean effect     mean of d over seeds and questions
    seed part       variance between the seeds' means / number of seeds
    question part   variance between the questions' means over seeds / number of questions
    interval        mean +- sqrt(t(seeds - 1)^2 seed part + t(questions - 1)^2 question part)

with Student's t for 95 %. The interval holds the true mean in at least 95 % of the cases however
large the parts are (Banerjee, Sankhya 22, 1960), also for two or three seeds, where a common number
of degrees of freedom (Satterthwaite's) holds it in less. The luck of single answers, which moves
the means of both, is counted twice, so that it errs on the safe side.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scripts.lib.compare.document import SeedEffect
from scripts.lib.score.documents import ChangeVerdict
from scripts.lib.score.standard_error import standard_error
from scripts.lib.score.statistics import SIGNIFICANCE, sign_test

# P-values below are said to be this: quantiles so far out are no longer exact.
_SMALLEST = 1e-12

Table = np.ndarray
"""A number for each seed (rows) and question (columns)."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is measured of each question of a benchmark, in the same order for all candidates.

    Attributes:
        unit: Percentage points, or nats per token, of which less is better.
        values: Candidate -> a number for each question, in that unit.
    """

    unit: Literal["points", "nats"]
    values: Mapping[str, Sequence[float]]

    def table(self, names: Sequence[str]) -> Table:
        """Return the numbers of some candidates, one row for each."""
        return np.asarray([self.values[name] for name in names], dtype=float)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far trainings that differ in their seed alone lie apart.

    Attributes:
        sd: Standard deviation, pooled over one group or several.
        degrees: Degrees of freedom: seeds less groups.
    """

    sd: float
    degrees: int


def mean_effect(changes: Table, *, unit: Literal["points", "nats"]) -> SeedEffect:
    """Return the mean effect of a training over its seeds, with both its errors.

    Args:
        changes: Run minus base, a row for each seed, a column for each question; two rows or more.
        unit: Their unit.
    """
    seeds, n = changes.shape
    means = [math.fsum(row) / n for row in changes]
    difference = math.fsum(means) / seeds
    spread = pooled_spread([means])
    error = standard_error(changes.mean(axis=0).tolist())
    interval = interval_of(difference, error, n, spread, 1 / seeds)
    p_value = _p_value(changes, difference, error, spread)
    return {
        "unit": unit,
        "difference": difference,
        "interval": interval,
        "p_value": p_value,
        "family": "primary",
        "p_corrected": p_value,
        "verdict": _verdict(changes, difference, p_value, less_is_better=unit == "nats"),
        "seeds": seeds,
        "seed_sd": spread.sd,
        "seed_range": [min(means), max(means)],
        "question_stderr": error,
        "n": n,
    }


def pooled_spread(groups: Sequence[Sequence[float]]) -> Spread:
    """Return the spread between seeds within groups: the root of their variances' weighted mean.

    Args:
        groups: The seeds' means of each group; two or more of each.
    """
    degrees = sum(len(means) - 1 for means in groups)
    squares = math.fsum((len(means) - 1) * statistics.variance(means) for means in groups)
    return Spread(sd=math.sqrt(squares / degrees), degrees=degrees)


def interval_of(
    center: float, error: float | None, n: int, spread: Spread, share: float
) -> list[float] | None:
    """Return the interval that counts other questions and other seeds.

    Args:
        center: A mean over seeds and questions, or a difference of two.
        error: Its standard error over questions, each counted with its mean over seeds.
        n: Number of questions.
        spread: The spread between seeds.
        share: What of the seeds' variance is in *center*: 1 / seeds, for a difference of two means
            the sum of both.

    Returns:
        Low and high end; None where the questions do not differ, so that nothing tells how other
        questions would.
    """
    if not error:
        return None
    half = _half(error, n, spread, share, 1 - SIGNIFICANCE / 2)
    return [center - half, center + half]


def _half(error: float, n: int, spread: Spread, share: float, quantile: float) -> float:
    """Return half the width of the interval that leaves out (1 - *quantile*) to either side."""
    seed_part = share * (student(spread.degrees, quantile) * spread.sd) ** 2
    question_part = (student(n - 1, quantile) * error) ** 2
    return math.sqrt(seed_part + question_part)


def seed_limit(spread: Spread, share: float) -> float:
    """Return the difference that other seeds alone exceed in 5 % of the cases.

    For two single trainings (*share* 2) it is the repeatability limit of ISO 5725-6, with Student's
    t in place of its 1.96, as the spread is an estimate.

    Args:
        spread: The spread between seeds.
        share: 1 / seeds of the one mean + 1 / seeds of the other.
    """
    return student(spread.degrees) * spread.sd * math.sqrt(share)


def student(degrees: int, quantile: float = 1 - SIGNIFICANCE / 2) -> float:
    """Return a quantile of Student's t, for a two-sided interval of 95 % unless it is given."""
    from scipy.special import stdtrit  # takes longer to import than all else here

    return float(stdtrit(degrees, quantile))


def _p_value(changes: Table, difference: float, error: float | None, spread: Spread) -> float:
    """Return the level at which the interval of a mean effect ends at 0.

    Where questions do not differ there is no interval: then it is that of the exact sign test,
    which decides where every seed moved every question one way.
    """
    seeds, n = changes.shape
    if not error:
        one_way = bool((changes > 0).all() or (changes < 0).all())
        return sign_test(0, n) if one_way else 1.0
    if not difference:
        return 1.0
    from scipy.optimize import brentq  # takes as long to import as all else here

    def excess(logarithm: float) -> float:
        quantile = 1 - math.exp(logarithm) / 2
        return _half(error, n, spread, 1 / seeds, quantile) - abs(difference)

    lowest = math.log(_SMALLEST)
    return math.exp(brentq(excess, lowest, 0.0)) if excess(lowest) > 0 else _SMALLEST


def _verdict(
    changes: Table, difference: float, p_value: float, *, less_is_better: bool
) -> ChangeVerdict:
    if not changes.any():
        return "unchanged"
    if p_value >= SIGNIFICANCE:
        return "undecided"
    return "better" if (difference > 0) != less_is_better else "worse"

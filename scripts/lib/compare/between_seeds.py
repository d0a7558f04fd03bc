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
    return {
        "unit": unit,
        "difference": difference,
        "interval": interval,
        "verdict": _verdict(changes, interval, less_is_better=unit == "nats"),
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
    seed_part = share * (student(spread.degrees) * spread.sd) ** 2
    question_part = (student(n - 1) * error) ** 2
    half = math.sqrt(seed_part + question_part)
    return [center - half, center + half]


def seed_limit(spread: Spread, share: float) -> float:
    """Return the difference that other seeds alone exceed in 5 % of the cases.

    For two single trainings (*share* 2) it is the repeatability limit of ISO 5725-6, with Student's
    t in place of its 1.96, as the spread is an estimate.

    Args:
        spread: The spread between seeds.
        share: 1 / seeds of the one mean + 1 / seeds of the other.
    """
    return student(spread.degrees) * spread.sd * math.sqrt(share)


def student(degrees: int) -> float:
    """Return the two-sided 95 % quantile of Student's t."""
    from scipy.special import stdtrit  # takes longer to import than all else here

    return float(stdtrit(degrees, 1 - SIGNIFICANCE / 2))


def _verdict(
    changes: Table, interval: Sequence[float] | None, *, less_is_better: bool
) -> ChangeVerdict:
    if not changes.any():
        return "unchanged"
    rose, fell = bool((changes > 0).all()), bool((changes < 0).all())
    if interval is not None:
        low, high = interval
        rose, fell = low > 0, high < 0
    elif sign_test(0, changes.shape[1]) >= SIGNIFICANCE:
        rose = fell = False
    if not rose and not fell:
        return "undecided"
    return "better" if rose != less_is_better else "worse"

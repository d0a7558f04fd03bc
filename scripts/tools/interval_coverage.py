"""How often intervals of a paired difference hold the true one: the study in docs/statistics.md.

For numbers of questions, shares that flip and the share of flips that are losses, tables are drawn
and the intervals of three methods counted: Tango's score interval, Newcombe's method 10 and the
difference ± 1.96 standard errors. Nothing is asked of a model.

Try it  python -m scripts.tools.interval_coverage
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from scripts.lib.benchmarks.judged_pairs.scores import wilson_interval
from scripts.lib.score.intervals import Z, score_interval

DRAWS = 20_000
SETTINGS = [(30, 0.1), (30, 0.3), (100, 0.02), (100, 0.1), (100, 0.3), (1000, 0.02), (1000, 0.1)]
"""Number of questions, and the share that flips."""
LEANS = (0.5, 0.7, 1.0)
"""Share of the flips that are losses."""
RIGHT = 0.6
"""Share right in both, of the questions that do not flip."""

Interval = Callable[[int, int, int, int], tuple[float, float]]
"""Both right, gained, lost, both wrong -> low and high end."""


def tango(both: int, gained: int, lost: int, neither: int) -> tuple[float, float]:
    """Return Tango's score interval."""
    return score_interval(gained, lost, both + gained + lost + neither)


def newcombe(both: int, gained: int, lost: int, neither: int) -> tuple[float, float]:
    """Return the interval of Newcombe's method 10: Wilson's of both shares, and their correlation.

    Newcombe, Statistics in Medicine 17, 1998, pages 2635 to 2650.
    """
    n = both + gained + lost + neither
    after, before = both + gained, both + lost
    cross: float = both * neither - gained * lost
    product = after * (n - after) * before * (n - before)
    if cross > 0:
        cross = max(cross - n / 2, 0)
    phi = cross / math.sqrt(product) if product else 0.0
    (low2, high2), (low1, high1) = wilson_interval(after, n), wilson_interval(before, n)
    up, down = (after / n - low2, high1 - before / n), (high2 - after / n, before / n - low1)
    difference = (after - before) / n
    below, above = (math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0)) for x, y in (up, down))
    return difference - below, difference + above


def two_errors(both: int, gained: int, lost: int, neither: int) -> tuple[float, float]:
    """Return the difference ± 1.96 standard errors (Wald's interval)."""
    n = both + gained + lost + neither
    difference = (gained - lost) / n
    half = Z * math.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 0)) / n
    return difference - half, difference + half


METHODS: dict[str, Interval] = {"Tango": tango, "Newcombe": newcombe, "± 1.96 errors": two_errors}


def coverage(n: int, flips: float, lean: float, method: Interval) -> float:
    """Return the share of drawn tables whose interval holds the true difference."""
    rng = np.random.default_rng(0)
    stay = 1 - flips
    shares = [stay * RIGHT, flips * (1 - lean), flips * lean, stay * (1 - RIGHT)]
    truth = shares[1] - shares[2]
    tables, counts = np.unique(rng.multinomial(n, shares, DRAWS), axis=0, return_counts=True)
    held = 0
    for table, count in zip(tables.tolist(), counts.tolist(), strict=True):
        low, high = method(*table)
        held += count * (low <= truth <= high)
    return held / DRAWS


def rows() -> Iterator[str]:
    """Yield the table in Markdown."""
    yield f"| questions | flip | of these lost | {' | '.join(METHODS)} |"
    yield f"|---:|---:|---:|{'---:|' * len(METHODS)}"
    for n, flips in SETTINGS:
        for lean in LEANS:
            found = (f"{100 * coverage(n, flips, lean, one):.1f}" for one in METHODS.values())
            yield f"| {n:,} | {100 * flips:.0f} % | {100 * lean:.0f} % | {' | '.join(found)} |"


def main() -> None:
    """Print the table."""
    for row in rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()

"""Several differences decided at once: Holm's correction of their p-values.

Who looks at the categories of a fine-tune one by one finds one that is better or worse by luck
alone more often than one time in twenty. Holm's correction (Scandinavian Journal of Statistics 6,
1979, pages 65 to 70) keeps the chance of any such finding in a family at 5 %, whatever the
categories have to do with each other. A family lies within one candidate and one benchmark, never
over candidates: what is compared beside a run changes no verdict on it. The average, named in
advance, is in no family.
"""

from collections.abc import Sequence

from scripts.lib.score.paired_documents import Decided, Family
from scripts.lib.score.statistics import SIGNIFICANCE


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being decided together, in the same order.

    The smallest of m counts m times, the next m - 1 times, and so on, none less than one before it
    and all at most 1.

    Example: 0.01, 0.04 and 0.03 become 0.03, 0.06 and 0.06.
    """
    corrected = [1.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def decide_together(differences: Sequence[Decided], family: Family) -> None:
    """Make a family of differences that were decided each for itself; it changes them.

    Args:
        differences: Those of one candidate on one benchmark.
        family: What they are together.
    """
    corrected = holm([one["p_value"] for one in differences])
    for one, p_value in zip(differences, corrected, strict=True):
        one["family"], one["p_corrected"] = family, p_value
        if one["verdict"] != "unchanged" and p_value >= SIGNIFICANCE:
            one["verdict"] = "undecided"

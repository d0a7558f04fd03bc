"""What JSON files say of the difference between two candidates on the same questions.

Apart from score/documents.py, which asking a model reaches: more figures ask no model again.
"""

from typing import Literal, TypedDict

from scripts.lib.score.documents import ChangeVerdict, PairedDifference

Family = Literal["primary", "categories", "subjects"]
"""Which differences of one candidate on one benchmark are decided together."""


class Decided(TypedDict):
    """A difference and whether it is decided."""

    p_value: float
    """Two-sided."""
    family: Family
    """What it is decided together with: nothing where it was named in advance (`primary`: the
    average, or what is measured first), else the other `categories` or measures of the candidate on
    the benchmark, or its `subjects`."""
    p_corrected: float
    """The p-value after Holm's correction within its family; `verdict` goes by it."""
    verdict: ChangeVerdict
    """Whether the difference is decided: `p_corrected` is below 0.05."""


class DecidedDifference(PairedDifference):
    """How two candidates differ on the same questions, with what that can decide."""

    interval: list[float] | None
    """Low and high end of the 95 % interval of `difference`, in percentage points: Tango's score
    interval where answers are right or wrong, else Student's t; null where that has no spread."""
    detectable: float | None
    """The difference, of either sign and in percentage points, that a test of these questions shows
    in 80 % of the cases; null where they are too few to show any."""
    family: Family
    """What it is decided together with: nothing where it was named in advance (`primary`: the
    average), else the other `categories` or measures of the candidate on the benchmark, or its
    `subjects`."""
    p_corrected: float
    """The p-value after Holm's correction within its family; `verdict` goes by it."""

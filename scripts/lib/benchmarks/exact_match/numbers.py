"""The numbers of a text, and whether an expected answer has one to compare.

Apart from the metrics, since planning asks it of rows before any is scored.
"""

import re
from decimal import Decimal

# A sign counts only where no word or number ends before it: "10-5" holds 10 and 5. Commas count
# only between groups of three digits, a point in front only where nothing is before it.
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z.)])[-\u2212])?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)"
    r"(?:[eE][-+\u2212]?\d{1,3}(?![0-9A-Za-z]))?"
)


def numbers_in(text: str) -> list[Decimal]:
    """Return the numbers of a text in order.

    Example: `It costs $1,200.50, not -3.` holds 1200.50 and -3.
    """
    found = (match[0].replace(",", "").replace("\u2212", "-") for match in _NUMBER.finditer(text))
    return [Decimal(number) for number in found]


def expected_fault(metric: str, answer: str) -> str | None:
    """Say why a metric cannot compare anything with an expected answer, or return None."""
    if metric != "numeric" or numbers_in(answer):
        return None
    return (
        f"has no number in `answer` ({answer!r}), and metric numeric compares numbers; correct it,"
        " or choose another metric"
    )

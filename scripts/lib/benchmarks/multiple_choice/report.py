"""What a user's own multiple-choice questions say, for the pages of those that flipped."""

from pathlib import Path

from scripts.lib.report.asked import Asked, asked_choices

ANSWERS_ARE_LETTERS = True

# As the questions of a set without categories are named.
_ONLY_SUBJECT = "questions"


def asked(benchmark: Path, shots: int | None) -> Asked:
    """Return what was asked.

    Args:
        benchmark: Folder with `test/` and, for few-shot examples, `dev/`.
        shots: Few-shot examples before each question.
    """
    return asked_choices(benchmark, shots, lambda stem, row: row.get("subject") or _ONLY_SUBJECT)

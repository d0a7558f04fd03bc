"""What is wrong with a row of a multiple-choice question."""

from collections.abc import Sequence

from scripts.lib.questions.bad_rows import Fault, shown
from scripts.lib.questions.rows import LETTERS, Row, is_text

# MMLU uses the first four letters.
MMLU_CHOICES = 4


def choice_fault(row: Row) -> Fault | None:
    """Say what is wrong with a multiple-choice row, or return None."""
    return _choice_fault(row, range(2, len(LETTERS) + 1), "2 or more")


def mmlu_fault(row: Row) -> Fault | None:
    """Say what is wrong with a row in MMLU's form, or return None."""
    return _choice_fault(row, (MMLU_CHOICES,), str(MMLU_CHOICES))


def _choice_fault(row: Row, counts: Sequence[int], words: str) -> Fault | None:
    # Equal choices are no fault: the model answers with a letter, and letters differ.
    if not is_text(row.get("question")):
        return Fault("without_question", "has no text in `question`")
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(choices, list) or len(choices) not in counts:
        return Fault("unusable_choices", f"needs a list of {words} texts in `choices`")
    if not all(isinstance(choice, str) for choice in choices):
        return Fault("unusable_choices", "has a choice that is not a text")
    # Not isinstance: bool is an int in Python, and `true` would silently mean answer B.
    if type(answer) is not int or answer not in range(len(choices)):
        return Fault(
            "without_answer" if answer in (None, "") else "answer_not_among_choices",
            f"needs a whole number from 0 to {len(choices) - 1} in `answer`, not {shown(answer)}",
        )
    return None

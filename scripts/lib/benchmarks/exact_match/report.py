"""What questions with a generated answer say, for the pages of those that flipped."""

from pathlib import Path

from scripts.lib.contamination.texts import rows_of
from scripts.lib.questions.rows import QUESTIONS_FILE, messages_of
from scripts.lib.report.asked import Asked, AskedQuestion

ANSWERS_ARE_LETTERS = False

# As these questions are named.
_ONLY_SUBJECT = "questions"


def asked(benchmark: Path, shots: int | None) -> Asked:
    """Return what was asked: the user's words, of several turns each with its role.

    Args:
        benchmark: Folder with `questions.jsonl`.
        shots: 0: there are no few-shot examples.
    """
    found = {}
    for place, row in enumerate(rows_of(benchmark / QUESTIONS_FILE)):
        turns = messages_of(row)
        text = turns[0]["content"]
        if len(turns) > 1:
            text = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        id_ = f"{_ONLY_SUBJECT}:{place}"
        found[id_] = AskedQuestion(id_, _ONLY_SUBJECT, text)
    return Asked(found)

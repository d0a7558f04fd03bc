"""What is wrong with a row of a prompt whose answers are judged."""

from scripts.lib.questions.bad_rows import Fault
from scripts.lib.questions.rows import Row, is_text, turns_fault


def prompt_fault(row: Row) -> Fault | None:
    """Say what is wrong with a prompt whose answers are judged, or return None."""
    for key in ("reference", "category"):
        if row.get(key) is not None and not is_text(row[key]):
            return Fault(f"unusable_{key}", f"has something else than text in `{key}`")
    return turns_fault(row, chat_template=True)

"""What is wrong with a row of a question whose answer is compared with the expected one."""

from scripts.lib.questions.bad_rows import Fault
from scripts.lib.questions.rows import Row, is_text, turns_fault


def answer_fault(row: Row, *, chat_template: bool) -> Fault | None:
    """Say what is wrong with a row whose answer is generated and compared, or return None.

    Args:
        row: Has `answer` and its turns.
        chat_template: Whether prompts go through the chat template.
    """
    if not is_text(row.get("answer")):
        return Fault("without_answer", "has no text in `answer`")
    return turns_fault(row, chat_template=chat_template)

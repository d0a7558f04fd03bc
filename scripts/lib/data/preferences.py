"""Rows with a chosen and a rejected answer: what they are, and the chosen one as a conversation."""

from dataclasses import replace

from scripts.lib.data.conversation import Message
from scripts.lib.data.raw_fields import Fields
from scripts.lib.data.records import UnusableRow

CHOSEN, REJECTED = "chosen", "rejected"
PREFERENCE_COLUMNS = (CHOSEN, REJECTED, "rejected_response")
"""The last is a bad answer beside a whole conversation, as ms-swift has it."""


def preference_column(row: Fields) -> str | None:
    """Return a column that shows that a row holds a better and a worse answer; None if none."""
    return next(
        (
            column
            for column in PREFERENCE_COLUMNS
            if row.holds(column) and isinstance(row.values[column], str | list | dict)
        ),
        None,
    )


def chosen_conversation(
    prompt: list[Message], chosen: list[Message], rejected: list[Message]
) -> list[Message]:
    """Return the turns of which the chosen answer is the end; only that is to be learnt.

    Args:
        prompt: What is asked; none if it stands in front of both answers.
        chosen: The better answer, perhaps behind what is asked.
        rejected: The worse one.

    Raises:
        UnusableRow: If what is asked is not there, or is not the same in both places.
    """
    if not chosen or chosen[-1].role != "assistant":
        raise UnusableRow("preference_row", f"`{CHOSEN}` does not end with an answer")
    if chosen[0].role == "assistant":
        if not prompt:
            raise UnusableRow("missing_field", "nothing says what the chosen answer is to")
        return _only_last_trained([*prompt, *chosen], len(prompt))
    said, asked = _said(chosen), _said(prompt)
    if prompt:
        for start in range(len(said) - len(asked)):
            if said[start : start + len(asked)] == asked:
                return _only_last_trained(chosen, start + len(asked))
        raise UnusableRow("prompt_differs", f"`{CHOSEN}` begins with something else than is asked")
    shared = 0
    for mine, other in zip(said[:-1], _said(rejected), strict=False):
        if mine != other:
            break
        shared += 1
    return _only_last_trained(chosen, shared)


def _said(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content.strip()) for message in messages]


def _only_last_trained(messages: list[Message], start: int) -> list[Message]:
    """Return messages of which only those from *start* on are learnt."""
    return [without_training(message) for message in messages[:start]] + messages[start:]


def without_training(message: Message) -> Message:
    """Return a message that is given and not learnt, as all turns of a prompt are."""
    return replace(message, trained=False) if message.role == "assistant" else message

"""The conversations of a dataset that no run is trained on, as far as they can be asked."""

from pathlib import Path

from scripts.lib.data.conversation import Conversation
from scripts.lib.data.parquet import read_table_rows
from scripts.lib.errors import ScoreError


def held_out_conversations(chat: Path, split: str) -> list[Conversation]:
    """Return the conversations of a split that the assistant ends, in the order of the table.

    Args:
        chat: Folder of `format_chat`.
        split: `test` or `valid`.

    Raises:
        ScoreError: There is none.
    """
    table = chat / f"{split}.parquet"
    found = read_table_rows(table) if table.is_file() else []
    conversations = [Conversation.from_row(row) for row in found]
    ended = [one for one in conversations if one.messages[-1].role == "assistant"]
    if not ended:
        raise ScoreError(
            f"{chat} holds no {split} conversations that end with an answer, so there is nothing"
            f" held out to ask. Give the dataset more rows or a larger {split}_fraction, or name"
            " another `split` of this benchmark; results/runs/*/chat/summary.json counts the rows."
        )
    return ended

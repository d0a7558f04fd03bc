"""The conversations of a dataset that no run is trained on, as far as they can be asked."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scripts.lib.data.conversation import Conversation
from scripts.lib.data.parquet import read_table_rows
from scripts.lib.data.records import UnusableRow
from scripts.lib.errors import ScoreError, TemplateError


def held_out_conversations(
    chat: Path, split: str, arguments: Mapping[str, Any] = MappingProxyType({})
) -> list[Conversation]:
    """Return the conversations of a split that the assistant ends, in the order of the table.

    Args:
        chat: Folder of `format_chat`.
        split: `test` or `valid`.
        arguments: What the chat template is given beside each; a conversation's own win.

    Raises:
        ScoreError: There is none.
    """
    table = chat / f"{split}.parquet"
    found = read_table_rows(table) if table.is_file() else []
    conversations = [_given(Conversation.from_row(row), arguments) for row in found]
    ended = [one for one in conversations if one.messages[-1].role == "assistant"]
    if not ended:
        raise ScoreError(
            f"{chat} holds no {split} conversations that end with an answer, so there is nothing"
            f" held out to ask. Give the dataset more rows or a larger {split}_fraction, or name"
            " another `split` of this benchmark; results/runs/*/chat/summary.json counts the rows."
        )
    return ended


def why_unasked(id_: str, error: UnusableRow | TemplateError) -> str:
    """Return the reason for which a conversation cannot be asked, and print it.

    It is the one for which rendering drops such conversations from training.
    """
    print(f"left out, as in training: {id_}: {error}", flush=True)
    return error.reason if isinstance(error, UnusableRow) else "template_refuses"


def _given(conversation: Conversation, arguments: Mapping[str, Any]) -> Conversation:
    own = conversation.template_arguments
    return replace(conversation, template_arguments={**arguments, **own})

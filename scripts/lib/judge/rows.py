"""Prompts whose answers are judged, read and checked: of a file, or what a dataset holds out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scripts.lib.data.conversation import Conversation
from scripts.lib.judge.faults import prompt_fault
from scripts.lib.questions.held_out_conversations import held_out_conversations
from scripts.lib.questions.rows import QUESTIONS_FILE, messages_of, read_rows

FILE_SUBJECT = "prompts"
"""The subject of prompts from a file; that of held-out conversations is their split."""


def turn_text(turn: Mapping[str, Any]) -> str:
    """Return what is said in a turn; a call of a tool is a line of JSON.

    Args:
        turn: As chat templates expect it.
    """
    calls = [json_line(call["function"]) for call in turn.get("tool_calls", ())]
    return "\n".join([turn["content"], *calls] if turn["content"] else calls)


def json_line(value: object) -> str:
    """Return a value as one line of JSON, letters as they are."""
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class JudgedRow:
    """One prompt.

    Attributes:
        id: Its name: subject and place, from 0.
        messages: The conversation up to the answer, as chat templates expect it.
        reference: A good answer, or None.
        category: Its category, or None.
        tools: JSON schemas of what the assistant may call.
        conversation: All of it, answer included, where a dataset holds it out.
    """

    id: str
    messages: Sequence[Mapping[str, Any]]
    reference: str | None
    category: str | None
    tools: Sequence[Mapping[str, Any]] = ()
    conversation: Conversation | None = None


def read_judged_rows(
    benchmark: Path, split: str | None, arguments: Mapping[str, Any] = MappingProxyType({})
) -> list[JudgedRow]:
    """Read and check the prompts of a benchmark.

    Args:
        benchmark: Folder with `questions.jsonl`, or of `format_chat`.
        split: The held-out split to ask, or None for `questions.jsonl`.
        arguments: What the chat template is given beside held-out conversations.

    Raises:
        ScoreError: The file is missing, empty, or a row is not in this form, with file and line;
            or the split has no conversation that ends with an answer.
    """
    if split is not None:
        conversations = held_out_conversations(benchmark, split, arguments)
        return [_held_out(f"{split}:{index}", one) for index, one in enumerate(conversations)]
    rows = read_rows(benchmark / QUESTIONS_FILE, prompt_fault)
    return [
        JudgedRow(
            f"{FILE_SUBJECT}:{index}", messages_of(row), row.get("reference"), row.get("category")
        )
        for index, row in enumerate(rows)
    ]


def _held_out(id_: str, conversation: Conversation) -> JudgedRow:
    *before, answer = (message.for_template() for message in conversation.messages)
    return JudgedRow(
        id_, before, turn_text(answer), None, conversation.tools, conversation=conversation
    )

"""Choose conversations that show what a dataset holds, and rows of each reason of its ledger.

Read from the folders of three stages: raw rows, conversations with their ledger, and shards.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scripts.lib.data import rendering, tally
from scripts.lib.data.conversation import Conversation
from scripts.lib.data.reasoning import OPEN
from scripts.lib.data.records import SOURCES, RawRow, UnusableRow, read_rows, source_files
from scripts.lib.examples.document import (
    Examples,
    ReasonedRow,
    ShownConversation,
    ShownReason,
    Step,
)
from scripts.lib.examples.page import render_page
from scripts.lib.examples.tokens import ShardTokens

LOOKED_AT = 5_000
"""Conversations among which examples are looked for, so that it takes seconds."""

SHOWN_ROWS = 3
"""Rows of each reason, and of a conversation whose turns are rows of their own."""

SHOWN_CHARACTERS = 20_000
"""Of a raw row."""

BATCH_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class _Rendered:
    """A conversation and its rows in the shards."""

    id: str
    split: str
    conversation: Conversation
    rows: list[Mapping[str, Any]]


def show_examples(raw: Path, chat: Path, shards: Path, out: Path) -> dict[str, int]:
    """Write `examples.json`, and the page that shows it, `index.html`.

    Args:
        raw: Folder of the raw rows.
        chat: Folder of `format_chat`.
        shards: Folder of `render_shards`.
        out: Existing empty folder.

    Returns:
        `{"conversations", "reasons"}`, how many are shown.
    """
    examples = examples_of(raw, chat, shards)
    text = json.dumps(examples, ensure_ascii=False)
    (out / "examples.json").write_text(text + "\n", encoding="utf-8")
    (out / "index.html").write_text(render_page(examples, "What is trained on"), encoding="utf-8")
    return {name: len(examples[name]) for name in ("conversations", "reasons")}


def examples_of(raw: Path, chat: Path, shards: Path | None) -> Examples:
    """Return a few conversations with every token, and up to three rows of each reason.

    Args:
        raw: Folder of the raw rows.
        chat: Folder of `format_chat`.
        shards: Folder of `render_shards`; None where nothing was rendered.

    Raises:
        RecordError: If the raw rows cannot be read.
        TemplateError: If the shards' tokenizer cannot be loaded.
    """
    looked_at, conversations = _conversations(chat, shards) if shards else (0, [])
    reasons = [*_formatting_reasons(chat), *(_rendering_reasons(shards) if shards else ())]
    shown: list[ShownConversation | ReasonedRow] = [*conversations]
    shown += [row for reason in reasons for row in reason["rows"]]
    raw_rows = _raw_rows(raw, {_row_of(one["id"]) for one in shown})
    for one in shown:
        one["raw"] = raw_rows[_row_of(one["id"])]
    return {
        "formatted": tally.told(_summary(chat)) if _has_summary(chat) else "",
        "rendered": rendering.told(_summary(shards)) if shards else "",
        "looked_at": looked_at,
        "conversations": conversations,
        "reasons": reasons,
    }


def _conversations(chat: Path, shards: Path) -> tuple[int, list[ShownConversation]]:
    """Return of how many conversations some were chosen, and these."""
    tokens = ShardTokens(shards / "tokenizer")
    kinds = _Kinds(_summary(shards), tokens)
    seen: set[str] = set()
    chosen: list[ShownConversation] = []
    number = 0
    for number, one in enumerate(_rendered(chat, shards), start=1):
        new = [kind for kind in kinds.of(one) if kind not in seen]
        if new or not chosen:
            seen.update(new)
            chosen.append(_shown(one, new, tokens))
        if number == LOOKED_AT or len(seen) == kinds.count:
            break
    return number, chosen


class _Kinds:
    """What a conversation can be an example of, in words; each is shown once."""

    def __init__(self, summary: Mapping[str, Any], tokens: ShardTokens) -> None:
        self._tokens = tokens
        self._defused = bool(summary["control_text_defused"])
        longest = (split["longest_tokens"] for split in summary["splits"].values())
        # Rows that were cut are as long as a row may be, and no row is longer.
        self._limit = max(longest) if summary["truncated"] else None
        self.count = 6 + self._defused + (self._limit is not None)

    def of(self, one: _Rendered) -> Iterator[str]:
        """Yield what a conversation shows."""
        turns = one.conversation.messages
        answers = [turn for turn in turns if turn.role == "assistant"]
        calls = any(turn.tool_calls for turn in turns) or bool(one.conversation.tools)
        reasons = any(turn.reasoning is not None or OPEN in turn.content for turn in answers)
        if len(answers) == 1 and not calls and not reasons:
            yield "one answer"
        if len(answers) > 1 and not calls:
            yield "several turns"
        if calls:
            yield "tools"
        if reasons:
            yield "reasoning"
        if "#" in one.rows[0]["conversation_id"]:
            yield "each turn as a row of its own"
        if not all(turn.trained for turn in answers):
            yield "a turn that its row excludes from training"
        lengths = {len(row["input_ids"]) for row in one.rows}
        if self._limit in lengths:
            yield f"as long as a row may be ({self._limit:,} tokens): longer ones are cut here"
        elif self._defused and any(self._is_defused(row) for row in one.rows):
            yield "the text of a control token in the data, kept as plain text"

    def _is_defused(self, row: Mapping[str, Any]) -> bool:
        ids: list[int] = row["input_ids"]
        return self._tokens.encode(row["text"]) != ids


def _rendered(chat: Path, shards: Path) -> Iterator[_Rendered]:
    """Yield the conversations that have rows in the shards, in order."""
    for split in SOURCES:
        files = sorted(shards.glob(f"{split}-*.parquet"))
        if not files:
            continue
        conversations = _table_rows([chat / f"{split}.parquet"])
        groups = groupby(_table_rows(files), lambda row: row["conversation_id"].partition("#")[0])
        for id_, rows in groups:
            row = next(one for one in conversations if one["conversation_id"] == id_)
            conversation = Conversation.from_row(row)
            yield _Rendered(id=id_, split=split, conversation=conversation, rows=list(rows))


def _table_rows(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=BATCH_ROWS):
                yield from batch.to_pylist()


def _shown(one: _Rendered, shows: list[str], tokens: ShardTokens) -> ShownConversation:
    return {
        "id": one.id,
        "split": one.split,
        "shows": shows,
        "rows": [tokens.row(row) for row in one.rows[:SHOWN_ROWS]],
        "rows_in_all": len(one.rows),
        "raw": "",
    }


def _formatting_reasons(chat: Path) -> list[ShownReason]:
    """Return the reasons of the ledger, in the order in which they came up."""
    counts: Counter[tuple[str, str]] = Counter()
    rows: dict[tuple[str, str], list[ReasonedRow]] = {}
    for row in _table_rows([chat / "ledger.parquet"]):
        if row["reason"]:
            key = (row["verdict"], row["reason"])
            counts[key] += 1
            found = rows.setdefault(key, [])
            if len(found) < SHOWN_ROWS:
                id_ = f"{row['source']}:{row['row']}"
                found.append({"id": id_, "detail": row["detail"], "raw": ""})
    return [
        _reason("formatting", verdict, reason, counts[verdict, reason], found)
        for (verdict, reason), found in rows.items()
    ]


def _rendering_reasons(shards: Path) -> list[ShownReason]:
    """Return the reasons for which conversations, or turns of them, were not rendered."""
    summary = _summary(shards)
    counts = Counter(summary["dropped"]) + Counter(summary["rows_dropped"])
    reasons = []
    for reason, examples in summary["dropped_examples"].items():
        parts = [example.partition(": ") for example in examples]
        rows: list[ReasonedRow] = [
            {"id": id_, "detail": detail, "raw": ""} for id_, _, detail in parts
        ]
        reasons.append(_reason("rendering", "dropped", reason, counts[reason], rows))
    return reasons


def _reason(
    step: Step, verdict: str, reason: str, count: int, rows: list[ReasonedRow]
) -> ShownReason:
    return {"step": step, "verdict": verdict, "reason": reason, "count": count, "rows": rows}


def _raw_rows(raw: Path, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Return raw rows as JSON for people; each file is read as far as it must be."""
    found: dict[tuple[str, int], str] = {}
    for source, file in source_files(raw).items():
        left = {number for name, number in wanted if name == source}
        for number, row in enumerate(read_rows(file) if left else ()):
            if number in left:
                found[source, number] = _pretty(row)
                left.remove(number)
                if not left:
                    break
    return found


def _pretty(row: RawRow) -> str:
    """Return a raw row as JSON; what is no JSON in words."""
    if isinstance(row, UnusableRow):
        return f"(no row that can be read: {row.detail})"
    text = json.dumps(row, indent=2, ensure_ascii=False, default=str)
    # A row may hold lone surrogates, which no page can.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    more = len(text) - SHOWN_CHARACTERS
    return text if more <= 0 else f"{text[:SHOWN_CHARACTERS]}\n... and {more:,} characters more"


def _row_of(id_: str) -> tuple[str, int]:
    """Return source and number of the raw row behind a conversation or one of its turns."""
    source, _, number = id_.partition("#")[0].partition(":")
    return source, int(number)


def _has_summary(folder: Path) -> bool:
    return (folder / "summary.json").is_file()


def _summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary

"""Turn a raw dataset into conversations, split for training and held-out use.

Every raw row gets a verdict in the ledger: kept, fixed or dropped, with the reason. The split is
cut by content: adding rows moves no other row, and equal conversations stand on one side.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from scripts.lib.data.columns import (
    Columns,
    Tags,
    absent_columns,
    absent_words,
    map_columns,
    mapped_layout,
)
from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.layouts import Format, Use, read_row
from scripts.lib.data.misfits import Misfits
from scripts.lib.data.placeholders import filled
from scripts.lib.data.records import (
    SOURCES,
    RawRow,
    RowFiles,
    UnusableRow,
    named,
    read_rows,
    source_files,
)
from scripts.lib.data.roles import NamedFault
from scripts.lib.data.table_writer import TableWriter
from scripts.lib.data.tally import Tally, Verdict
from scripts.lib.errors import RecordError

# Held-out sources come first: of two equal rows, the one that is not trained on stays.
SOURCE_ORDER = ("test", "valid", "train")
# What may stand before a turn; "call" is an assistant turn that calls a tool.
MAY_FOLLOW = {
    "system": ("start",),
    "user": ("start", "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("call", "tool"),
}
TURN_REASONS = {"system": "system_not_first", "tool": "tool_without_call"}
MESSAGE_FIELDS = ("role", "content", "reasoning", "name", "tool_call_id", "tool_calls")
MESSAGE_TYPE = pa.struct(
    [*((name, pa.string()) for name in MESSAGE_FIELDS), ("trained", pa.bool_())]
)
CONVERSATION_SCHEMA = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("messages", pa.list_(MESSAGE_TYPE)),
        ("tools", pa.string()),
        ("template_arguments", pa.string()),
    ]
)
# What tables had before reasoning and the rest: whoever lacks these is drawn as ever.
_ALWAYS_DRAWN = ("role", "content", "name", "tool_calls", "messages", "tools")
LEDGER_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("split", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class FormatSpec:
    """What decides the conversations of a dataset.

    Attributes:
        format: Layout of the raw rows; `auto` looks at the columns of each row.
        system: Text of the system turn for conversations that have none.
        valid_fraction: Share of the training rows held out for validation, 0-1; unused when the
            dataset has a valid file of its own.
        test_fraction: The same for the test split.
        split_seed: Another seed holds out other rows.
        limit: Read at most so many rows of each source file.
        columns: Where the values of a layout's columns are, if not under their own names.
        tags: What turns call their keys and speakers, if not as usual.
        template_arguments: What the chat template is given beside each conversation; a row's own
            win.
        use: Which answer is trained on where a row has a chosen and a rejected one; None refuses
            such rows.
        placeholders: Name -> what stands for `{{name}}` in the rows.
    """

    format: Format
    system: str | None
    valid_fraction: float
    test_fraction: float
    split_seed: int
    limit: int | None
    columns: Columns | None = None
    tags: Tags | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    use: Use | None = None
    placeholders: Mapping[str, str] | None = None

    @property
    def layout(self) -> Format:
        """Layout of the rows whose columns are mapped."""
        return mapped_layout(self.format, self.columns, self.tags)


def format_chat(spec: FormatSpec, raw: Path, out: Path) -> dict[str, Any]:
    """Write the conversations of a raw dataset, split, with a ledger of every row.

    Args:
        spec: What decides the result.
        raw: Folder with `train` and perhaps `valid` and `test` files (jsonl, json, csv, parquet).
        out: Empty folder for `{train,valid,test}.parquet`, `ledger.parquet` and `summary.json`.

    Returns:
        The facts: `{"summary": {...}}`, with counts of rows and the dropped fraction (0-1).

    Raises:
        RecordError: If a file cannot be read, or no row is left to train on.
    """
    files = source_files(raw)
    check_columns(spec, files)
    tally = Tally(misfits=Misfits(spec.layout))
    with ExitStack() as stack:
        ledger = stack.enter_context(_table(out, "ledger", LEDGER_SCHEMA))
        tables = {
            split: stack.enter_context(_table(out, split, CONVERSATION_SCHEMA)) for split in SOURCES
        }
        for source in (name for name in SOURCE_ORDER if name in files):
            for row, record in enumerate(islice(read_rows(files[source]), spec.limit)):
                row_id = f"{source}:{row}"
                verdict = _verdict_on(spec, record, row_id, frozenset(files), tally.seen)
                tally.count(row_id, verdict)
                if verdict.conversation is None:
                    tally.misfits.note(_mapped(spec, record))
                if verdict.conversation is not None:
                    content = verdict.conversation.row()
                    tables[verdict.split].add({"conversation_id": row_id, **content})
                ledger.add(
                    {"source": source, "row": row}
                    | {name: getattr(verdict, name) for name in LEDGER_SCHEMA.names[2:]}
                )
    summary = tally.summary()
    if not tally.splits["train"]:
        raise RecordError(_nothing_left(raw, tally))
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return {"summary": summary}


def check_usable_rows(
    spec: FormatSpec, files: Mapping[str, RowFiles], wanted: Collection[str]
) -> None:
    """Refuse a dataset of which a split that something needs stays without a row.

    The first row of each ends the look, so that a dataset that will do costs few.

    Args:
        spec: What decides the conversations.
        files: Source (`train`, `valid`, `test`) -> its files.
        wanted: Splits that must have a row.

    Raises:
        RecordError: One has none; for training with what is wrong with the rows.
    """
    check_columns(spec, files)
    for split in (name for name in SOURCES if name in wanted):
        source = split if split in files else "train"
        tally = Tally(misfits=Misfits(spec.layout))
        for row, record in enumerate(islice(read_rows(files[source]), spec.limit)):
            row_id = f"{source}:{row}"
            verdict = _verdict_on(spec, record, row_id, frozenset(files), tally.seen)
            tally.count(row_id, verdict)
            if verdict.split == split:
                break
            if verdict.conversation is None:
                tally.misfits.note(_mapped(spec, record))
        else:
            if split == "train" or not tally.splits.total():
                raise RecordError(_nothing_left(named(files[source]), tally))
            fraction = f"{split}_fraction"
            raise RecordError(
                f"{named(files[source])}: none of {tally.verdicts.total()} rows is held out as"
                f" {split}; raise {fraction}, which is {getattr(spec, fraction)}, or give the"
                f" dataset a {split} file"
            )


def check_columns(spec: FormatSpec, files: Mapping[str, RowFiles]) -> None:
    """Refuse a dataset that maps a column which none of its rows has; the first often has all.

    Raises:
        RecordError: Names the column, those that are there and the one that may be meant.
    """
    rows = (row for place in files.values() for row in islice(read_rows(place), spec.limit))
    absent, there = absent_columns(spec.columns, rows)
    if spec.columns and there and absent:
        place = named(files["train"])
        raise RecordError(f"{place}: {absent_words(spec.columns, absent, there)}")


def usable(conversation: Conversation, system: str | None) -> tuple[Conversation, str]:
    """Check the turns of a conversation, and mend what can be mended.

    Args:
        conversation: Turns as converted.
        system: Text of the system turn to put in front if there is none.

    Returns:
        The conversation to use, and what was fixed: a reason code, or nothing.

    Raises:
        UnusableRow: If the conversation cannot be trained on.
    """
    messages = list(conversation.messages)
    if not messages:
        raise UnusableRow("no_turns", "the conversation is empty")
    while messages and messages[-1].role in ("user", "tool"):
        messages.pop()
    fixed = "" if len(messages) == len(conversation.messages) else "trailing_turn_cut"
    if all(message.role != "assistant" for message in messages):
        raise UnusableRow(
            "no_assistant", "no turn is the assistant's, so there is nothing to learn"
        )
    if not any(message.role == "assistant" and message.trained for message in messages):
        raise UnusableRow("nothing_to_train_on", "the row says that no answer is to be learnt")
    if messages[0].role != "system" and system is not None:
        messages.insert(0, Message(role="system", content=system))
    _check_order(messages)
    for number, message in enumerate(messages):
        empty = not message.content.strip() and not message.tool_calls
        if empty and message.role in ("assistant", "user"):
            raise UnusableRow(f"empty_{message.role}", f"turn {number} says nothing")
    return replace(conversation, messages=tuple(messages)), fixed


def _check_order(messages: list[Message]) -> None:
    """Demand: an optional system turn, then user and assistant in turn, tools after a call."""
    previous = "start"
    for number, message in enumerate(messages):
        role = message.role
        if previous not in MAY_FOLLOW[role]:
            reason = TURN_REASONS.get(role, "roles_do_not_alternate")
            raise UnusableRow(reason, f"turn {number} is {role} after {previous}")
        previous = "call" if message.tool_calls else role


def _verdict_on(
    spec: FormatSpec,
    record: RawRow,
    row_id: str,
    sources: frozenset[str],
    seen: dict[bytes, str],
) -> Verdict:
    try:
        if isinstance(record, UnusableRow):
            raise record
        mapped = map_columns(record, spec.columns, spec.tags)
        read = read_row(mapped, spec.layout, spec.use)
        conversation, fixed = usable(read.conversation, spec.system)
        whole = filled(conversation, spec.placeholders or {})
        digest = _digest(_content(conversation))
        if (first := seen.setdefault(digest, row_id)) != row_id:
            raise UnusableRow("duplicate", f"equal to {first}")
    except UnusableRow as error:
        names = error.names if isinstance(error, NamedFault) else ()
        return Verdict(verdict="dropped", reason=error.reason, detail=error.detail, names=names)
    source = row_id.partition(":")[0]
    return Verdict(
        verdict="fixed" if fixed else "kept",
        reason=fixed,
        detail="turns after the last answer were cut" if fixed else "",
        # What fills placeholders moves no row from one split to another.
        split=source if source != "train" else _split(spec, conversation, sources),
        # Behind the drawing: arguments for all move no row to another split.
        conversation=replace(
            whole,
            template_arguments={**spec.template_arguments, **conversation.template_arguments},
        ),
        ignored=read.ignored,
    )


def _mapped(spec: FormatSpec, record: RawRow) -> object:
    """Return a row with its columns mapped; None where one that is needed has no value."""
    try:
        return map_columns(record, spec.columns, spec.tags)
    except UnusableRow:
        return None


def _split(spec: FormatSpec, conversation: Conversation, sources: frozenset[str]) -> str:
    """Draw the split of a training row from its content, the system turn aside.

    Test is cut from the lower end and valid from the upper one, so that changing one fraction does
    not touch the other; without the system turn, another `system` setting moves no row either.
    """
    turns = tuple(message for message in conversation.messages if message.role != "system")
    content = _digest([spec.split_seed, _content(replace(conversation, messages=turns))])
    place = int.from_bytes(content[:8]) / 2**64
    if "test" not in sources and place < spec.test_fraction:
        return "test"
    if "valid" not in sources and place >= 1 - spec.valid_fraction:
        return "valid"
    return "train"


def _content(conversation: Conversation) -> dict[str, Any]:
    """Return what makes two conversations equal."""
    row = conversation.row()
    turns = [_drawn(message) for message in row["messages"]]
    return _drawn({**row, "messages": turns})


def _drawn(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None or key in _ALWAYS_DRAWN}


def _digest(content: object) -> bytes:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    try:
        return hashlib.sha256(text.encode()).digest()
    except UnicodeEncodeError as error:
        raise UnusableRow("not_unicode", f"the text has a lone surrogate: {error}") from error


def _table(out: Path, name: str, schema: pa.Schema) -> TableWriter:
    return TableWriter(lambda _: out / f"{name}.parquet", schema)


def _nothing_left(raw: object, tally: Tally) -> str:
    rows = tally.verdicts.total()
    if not rows:
        return f"{raw} holds no rows; check the source and `limit`"
    if tally.splits.total():
        held_out = dict(tally.splits)
        return (
            f"{raw}: no conversation of {rows} rows is left for training, all are held out:"
            f" {held_out}; lower valid_fraction and test_fraction or raise `limit`"
        )
    return f"{raw}: none of {rows} rows can be used: {tally.problems()}"

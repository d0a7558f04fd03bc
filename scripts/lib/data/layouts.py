"""Turn one raw record into a conversation.

Four layouts are understood: `messages` (the OpenAI and Hugging Face one), `sharegpt` (`from` and
`value`, with function calls and observations), `alpaca` (instruction, input, output, history) and
`prompt_completion`. `auto` looks at the columns of each row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from scripts.lib.data.beside_turns import check_task, with_columns
from scripts.lib.data.content_parts import text_of
from scripts.lib.data.conversation import Conversation, Message, Role
from scripts.lib.data.preferences import (
    CHOSEN,
    REJECTED,
    chosen_conversation,
    preference_column,
    without_training,
)
from scripts.lib.data.raw_fields import Fields, holds_nothing, is_nan, parsed
from scripts.lib.data.raw_turns import SPEAKER_KEYS, read_turns
from scripts.lib.data.records import UnusableRow

LayoutName = Literal["messages", "sharegpt", "alpaca", "prompt_completion"]
Format = Literal["auto", LayoutName]
"""What a dataset can be read as; with `auto` each row shows by its columns which layout it has."""

Use = Literal["chosen"]
"""Which answer of a row with a chosen and a rejected one is trained on."""

TURN_COLUMNS = ("messages", "conversations", "conversation")
QUESTION_COLUMNS = ("instruction",)
EXTRA_COLUMNS = ("input", "context")
ANSWER_COLUMNS = ("output", "response")
HISTORY_COLUMN = "history"
PROMPT_COLUMNS = ("prompt",)
COMPLETION_COLUMNS = ("completion",)
# Whose turns a named layout reads; `auto` reads them under any of the keys.
_SPEAKERS = {"messages": ("role",), "sharegpt": ("from", "speaker")}

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """What the rows of one layout look like.

    Attributes:
        needs: Its columns, each with its other names.
        holds: What stands in them, in words.
    """

    needs: tuple[tuple[str, ...], ...]
    holds: str

    def words(self) -> str:
        """Say which columns it reads."""
        return f"{' and '.join(map(_names, self.needs))}, {self.holds}"

    def is_in(self, columns: Iterable[object]) -> bool:
        """Tell whether *columns* are all that it needs."""
        there = set(columns)
        return all(there.intersection(names) for names in self.needs)


def _names(names: tuple[str, ...]) -> str:
    first, *others = (f"`{name}`" for name in names)
    return first + (f" (or {', '.join(others)})" if others else "")


LAYOUTS: Mapping[LayoutName, Layout] = {
    "messages": Layout((TURN_COLUMNS,), "a list of turns with `role` and `content`"),
    "sharegpt": Layout((TURN_COLUMNS,), "a list of turns with `from` and `value`"),
    "alpaca": Layout(
        (QUESTION_COLUMNS, ANSWER_COLUMNS),
        f"also {_names(EXTRA_COLUMNS)} and `{HISTORY_COLUMN}` where they are",
    ),
    "prompt_completion": Layout(
        (PROMPT_COLUMNS, COMPLETION_COLUMNS), "each a text or a list of turns"
    ),
}


@dataclass(frozen=True, kw_only=True)
class ReadRow:
    """A raw row as it was read.

    Attributes:
        conversation: Its turns and what belongs to them.
        ignored: Keys of the row and its turns that hold something and were not used.
    """

    conversation: Conversation
    ignored: tuple[str, ...]


def to_conversation(record: object, layout: Format) -> Conversation:
    """Convert one raw record; see `read_row`."""
    return read_row(record, layout).conversation


def read_row(record: object, layout: Format, use: Use | None = None) -> ReadRow:
    """Read one raw record; whether its turns can be used is not looked at.

    Args:
        record: The row as published.
        layout: Its layout, or `auto`.
        use: Which answer is trained on where a row has a chosen and a rejected one; None refuses
            such rows.

    Returns:
        The conversation with its turns in order, and what was ignored. Example: `{"instruction":
        "Add.", "input": "1+1", "output": "2"}` becomes a user turn of two lines, `Add.` and `1+1`,
        and the answer `2`.

    Raises:
        UnusableRow: If the row does not have this layout, or is no conversation to be learnt.
    """
    if not isinstance(record, Mapping):
        raise UnusableRow("not_an_object", f"the row is a {type(record).__name__}, not an object")
    row = Fields(record)
    try:
        check_task(row)
        messages = _read_messages(row, layout, use)
        conversation = with_columns(row, messages)
        ignored = tuple(dict.fromkeys(row.ignored()))
    except RecursionError as error:
        raise UnusableRow("nested_too_deep", "objects stand in one another too deep") from error
    if ignored:
        texts = (message.content.strip() for message in conversation.messages)
        said = [text for text in texts if text]
        ignored = tuple(key for key in ignored if not _repeats(record.get(key), said))
    return ReadRow(conversation=conversation, ignored=ignored)


def _read_messages(row: Fields, layout: Format, use: Use | None) -> list[Message]:
    column = preference_column(row)
    if column is not None and use is None:
        raise UnusableRow(
            "preference_row", f"`{column}` is one of two answers, of which one is better"
        )
    if column is not None and row.holds(CHOSEN):
        chosen, rejected = (
            _side(row, name, "assistant") if row.holds(name) else [] for name in (CHOSEN, REJECTED)
        )
        return chosen_conversation(_asked(row), chosen, rejected)
    known = detect_layout(row.values) if layout == "auto" else layout
    match known:
        case "messages" | "sharegpt":
            messages = _from_turns(row, SPEAKER_KEYS if layout == "auto" else _SPEAKERS[known])
        case "alpaca":
            messages = _from_alpaca(row)
        case "prompt_completion":
            messages = _from_prompt_completion(row)
        case _:
            assert_never(known)
    if column is not None:
        if not messages or messages[-1].role != "assistant":
            raise UnusableRow("preference_row", f"`{column}` is there, and no answer that is good")
        row.get(column)
    return messages


def fitting_layouts(record: object) -> list[LayoutName]:
    """Return the layouts as which *record* can be read."""
    fitting = []
    for layout in LAYOUTS:
        try:
            to_conversation(record, layout)
        except UnusableRow:
            continue
        fitting.append(layout)
    return fitting


def detect_layout(record: Record) -> LayoutName:
    """Return the layout that the columns of *record* show.

    Raises:
        UnusableRow: If they show none.
    """
    column = _turn_column(record)
    if column is not None:
        turns = parsed(record[column], column)
        first = turns[0] if isinstance(turns, list) and turns else None
        first = parsed(first, column, reason="not_a_list_of_turns")
        shows = isinstance(first, Mapping) and not holds_nothing(first.get("from"))
        return "sharegpt" if shows else "messages"
    layouts: tuple[LayoutName, ...] = ("alpaca", "prompt_completion")
    filled = [name for name, value in record.items() if not (value is None or is_nan(value))]
    for columns in (filled, record):
        for layout in layouts:
            if LAYOUTS[layout].is_in(columns):
                return layout
    names = ", ".join(map(str, record)) or "none"
    raise UnusableRow("unknown_format", f"no known layout has these columns: {names}")


def _from_turns(row: Fields, keys: Sequence[str]) -> list[Message]:
    column = _turn_column(row.values)
    if column is None:
        names = ", ".join(TURN_COLUMNS)
        raise UnusableRow("missing_field", f"there is no value in a column {names}")
    return read_turns(row, column, keys)


def _from_alpaca(row: Fields) -> list[Message]:
    _, answer = _first(row, ANSWER_COLUMNS)
    return [
        *_alpaca_prompt(row),
        Message(role="assistant", content=text_of(answer, "output")),
    ]


def _alpaca_prompt(row: Fields) -> list[Message]:
    messages = _history(row) if row.holds(HISTORY_COLUMN) else []
    question = text_of(_first(row, QUESTION_COLUMNS)[1], "instruction")
    given = [name for name in EXTRA_COLUMNS if row.values.get(name)]
    if extra := next((name for name in given if not is_nan(row.values[name])), None):
        words = text_of(row.get(extra), "input")
        question = f"{question}\n{words}" if question else words
    return [*messages, Message(role="user", content=question)]


def _history(row: Fields) -> list[Message]:
    pairs = parsed(row.values[HISTORY_COLUMN], HISTORY_COLUMN)
    if isinstance(pairs, list) and all(isinstance(pair, Mapping) for pair in pairs):
        return read_turns(row, HISTORY_COLUMN)
    row.get(HISTORY_COLUMN)
    messages = []
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise UnusableRow("bad_history", "`history` holds something else than pairs of texts")
        question, answer = (text_of(one, HISTORY_COLUMN) for one in pair)
        messages.append(Message(role="user", content=question))
        messages.append(Message(role="assistant", content=answer))
    return messages


def _from_prompt_completion(row: Fields) -> list[Message]:
    """Return both sides; of turns only the completion's are learnt, as in TRL."""
    (asked, prompt), (answered, completion) = (
        _first(row, columns) for columns in (PROMPT_COLUMNS, COMPLETION_COLUMNS)
    )
    # A text of one side that looks like turns is what is asked or answered; both are a table's.
    written = _is_turns(prompt) and _is_turns(completion)
    return [
        *map(without_training, _side(row, asked, "user", written)),
        *_side(row, answered, "assistant", written),
    ]


def _asked(row: Fields) -> list[Message]:
    """Return what is asked of two answers; nothing where it stands in front of each."""
    if (column := _turn_column(row.values)) is not None:
        return read_turns(row, column)
    if (found := row.first(PROMPT_COLUMNS)) is not None:
        return _side(row, found[0], "user")
    return _alpaca_prompt(row) if row.first(QUESTION_COLUMNS) else []


def _side(row: Fields, column: str, role: Role, written: bool | None = None) -> list[Message]:
    """Return a text as a turn of its own, or a turn, or a list of them.

    Args:
        row: The row.
        column: Its column.
        role: Whose turn a text is.
        written: Whether a text is the JSON of turns; None looks at it.
    """
    value = row.get(column)
    if isinstance(value, str) and not (_is_turns(value) if written is None else written):
        return [Message(role=role, content=value)]
    return read_turns(row, column, single=True)


def _is_turns(value: object) -> bool:
    """Tell whether a text is the JSON of turns."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return False
    try:
        turns = parsed(value, "")
    except UnusableRow:
        return False
    turns = turns if isinstance(turns, list) else [turns]
    return bool(turns) and all(
        isinstance(turn, Mapping) and not {*turn}.isdisjoint(SPEAKER_KEYS) for turn in turns
    )


def _turn_column(record: Record) -> str | None:
    there = [column for column in TURN_COLUMNS if record.get(column) is not None]
    there = [column for column in there if not is_nan(record[column])]
    return next((column for column in there if not holds_nothing(record[column])), None) or next(
        iter(there), None
    )


def _first(row: Fields, columns: Sequence[str]) -> tuple[str, Any]:
    if (found := row.first(columns)) is None:
        raise UnusableRow("missing_field", f"there is no value in a column {', '.join(columns)}")
    return found


def _repeats(value: object, said: list[str]) -> bool:
    """Tell whether a column that was not read says only what the turns say."""
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        return all(_repeats(turn.get("content", turn.get("value")), said) for turn in value)
    if not isinstance(value, str) or not said:
        return False
    return value.strip() in said or all(words in value for words in said)

"""The columns that each layout of raw rows reads, and what to say when rows have none of them.

The one place that knows them: recognising a layout, reading it and the words of errors start here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TURN_COLUMNS = ("messages", "conversations", "conversation")
QUESTION_COLUMNS = ("instruction",)
EXTRA_COLUMNS = ("input", "context")
ANSWER_COLUMNS = ("output", "response")
HISTORY_COLUMN = "history"
PROMPT_COLUMNS = ("prompt",)
COMPLETION_COLUMNS = ("completion",)

# An error names so many columns of the rows; a table of features can have hundreds.
SHOWN_COLUMNS = 20


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


LAYOUTS: Mapping[str, Layout] = {
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


def misfit_words(layout: str, columns: Iterable[object], fitting: Iterable[str]) -> str | None:
    """Say which columns rows have that do not have their layout, and what would do.

    Args:
        layout: The `format` that the rows were read as.
        columns: The columns that they have.
        fitting: Layouts that they do fit.

    Returns:
        The words, or None where the columns are right and their values are not.
    """
    names = [str(column) for column in columns]
    remedy = " or ".join(f"`format: {name}`" for name in fitting)
    asked = LAYOUTS.values() if layout == "auto" else [LAYOUTS[layout]]
    if not remedy and any(one.is_in(names) for one in asked):
        return None
    shown = ", ".join(names[:SHOWN_COLUMNS])
    if len(names) > SHOWN_COLUMNS:
        shown += f" and {len(names) - SHOWN_COLUMNS} more"
    return (
        f"they have {f'the columns {shown}' if names else 'no columns'};"
        f" {f'write {remedy}, which fits them' if remedy else _RENAME}."
        " The formats read:" + "".join(f"\n  {name}: {LAYOUTS[name].words()}" for name in LAYOUTS)
    )


_RENAME = "no format fits them: rename the columns, or write the rows in one of the formats"

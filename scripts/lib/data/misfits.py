"""Rows that cannot be read in the layout of their dataset: which they are, and what to say."""

from collections.abc import Iterable, Mapping

from scripts.lib.data.columns import proposal
from scripts.lib.data.layouts import LAYOUTS, Format, LayoutName, fitting_layouts, to_conversation
from scripts.lib.data.records import UnusableRow

# An error names so many columns of the rows; a table of features can have hundreds.
SHOWN_COLUMNS = 20


# What rows are refused for that have another layout.
LAYOUT_REASONS = (
    *("unknown_format", "missing_field", "no_role", "unknown_role"),
    *("not_a_list_of_turns", "column_is_not_json", "content_is_not_text"),
)
# So many rows show which columns a dataset has.
LOOKED_AT = 20
_RENAME = (
    "no format fits them: rename the columns, as by {}, or write the rows in one of the formats"
)


class Misfits:
    """The first rows of a dataset that do not have its layout."""

    def __init__(self, layout: Format) -> None:
        self._layout = layout
        self._columns: dict[object, None] = {}
        self._fitting: set[LayoutName] | None = None
        self._looked_at = 0

    def note(self, record: object) -> None:
        """Look at a row that could not be used."""
        if self._looked_at == LOOKED_AT or not isinstance(record, Mapping):
            return
        self._looked_at += 1
        try:
            to_conversation(record, self._layout)
        except UnusableRow as error:
            if error.reason not in LAYOUT_REASONS:
                return
            self._columns |= dict.fromkeys(record)
            fits = set(fitting_layouts(record))
            self._fitting = fits if self._fitting is None else self._fitting & fits

    def words(self) -> str | None:
        """Say what the rows have and which layout they fit; None where no layout is the matter."""
        if self._fitting is None:
            return None
        fitting = [name for name in LAYOUTS if name in self._fitting]
        return misfit_words(self._layout, self._columns, fitting)


def misfit_words(
    layout: Format, columns: Iterable[object], fitting: Iterable[LayoutName]
) -> str | None:
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
        f" {f'write {remedy}, which fits them' if remedy else _RENAME.format(proposal(names))}."
        " The formats read:" + "".join(f"\n  {name}: {LAYOUTS[name].words()}" for name in LAYOUTS)
    )

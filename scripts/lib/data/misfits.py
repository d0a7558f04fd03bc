"""Rows that cannot be read in the layout of their dataset: which they are, and what to say."""

from collections.abc import Mapping
from pathlib import Path

from scripts.lib.data.layout_columns import LAYOUTS, misfit_words
from scripts.lib.data.layouts import Format, fitting_layouts, to_conversation
from scripts.lib.data.records import RawRow, read_rows
from scripts.lib.data.unusable_row import UnusableRow
from scripts.lib.errors import RecordError

# So many rows show which columns a dataset has.
LOOKED_AT = 20


class Misfits:
    """The first rows of a dataset that do not have its layout."""

    def __init__(self, layout: Format) -> None:
        self._layout = layout
        self._columns: dict[object, None] = {}
        self._fitting: set[str] | None = None
        self._looked_at = 0

    def note(self, record: object) -> None:
        """Look at a row that could not be used."""
        if self._looked_at == LOOKED_AT or not isinstance(record, Mapping):
            return
        self._looked_at += 1
        try:
            to_conversation(record, self._layout)
        except UnusableRow:
            self._columns |= dict.fromkeys(record)
            fits = set(fitting_layouts(record))
            self._fitting = fits if self._fitting is None else self._fitting & fits

    def words(self) -> str | None:
        """Say what the rows have and which layout they fit; None where no layout is the matter."""
        if self._fitting is None:
            return None
        fitting = [name for name in LAYOUTS if name in self._fitting]
        return misfit_words(self._layout, self._columns, fitting)


def check_layout(place: Path, layout: Format, limit: int | None) -> None:
    """Refuse a file of which no row can be read in its layout.

    The first row that can be read ends the look, so that a file that will do costs one row.

    Args:
        place: The file.
        layout: The layout, or `auto`.
        limit: So many rows count, or all.

    Raises:
        RecordError: No row can be read.
    """
    misfits, first, rows = Misfits(layout), "", 0
    for rows, record in enumerate(read_rows(place), start=1):
        try:
            _convert(record, layout)
        except UnusableRow as error:
            first = first or f"row 0: {error}"
            misfits.note(record)
        else:
            return
        if rows == limit:
            break
    if rows:
        remedy = misfits.words() or "correct the rows, or take them from another source"
        raise RecordError(
            f"{place}: none of {rows} rows can be read as `format: {layout}` (for example {first});"
            f" {remedy}"
        )


def _convert(record: RawRow, layout: Format) -> None:
    if isinstance(record, UnusableRow):
        raise record
    to_conversation(record, layout)

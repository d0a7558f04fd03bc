"""What decides the conversations of a dataset: how its rows are read, split and told apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scripts.lib.data.columns import Columns, Tags, mapped_layout
from scripts.lib.data.layouts import Format, Use


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
        split_by: Raw column whose value keeps rows in one split; None splits each by its content.
        near_duplicates: How near duplicates are found and from which similarity on one of two is
            dropped (near_duplicates.METHOD and `threshold`); None keeps them.
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
    split_by: str | None = None
    near_duplicates: Mapping[str, Any] | None = None

    @cached_property
    def layout(self) -> Format:
        """Layout of the rows whose columns are mapped."""
        return mapped_layout(self.format, self.columns, self.tags)

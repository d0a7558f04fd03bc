"""What each dataset of a mixture gives to a training, as manifests hold it.

Apart from the choice of rows, so that the report, which reads it, does not depend on how rows are
chosen.
"""

from typing import TypedDict


class Given(TypedDict):
    """What a dataset gives to a training, for the manifest and the report."""

    rows_there: int
    """Rows of its train split."""
    different_rows: int
    """Those of them that are read."""
    rows: int
    """Rows that are read in an epoch; one that is read again counts again."""
    tokens: int
    """All tokens of these."""
    trained_tokens: int
    """Those that the loss looks at."""
    share_asked: float | None
    """Of the trained tokens of all, where a weight asked for one."""
    share: float
    """Of the trained tokens of all."""
    repeat: int
    """Times that a row was to be read; with shares, at most."""
    held_out_elsewhere: int
    """Rows that were left out because another dataset holds them out."""
    also_elsewhere: int
    """Rows that another dataset has, too."""
    held_out_there: int
    """Rows of its valid split."""
    held_out: int
    """Those of them that the loss on held-out rows is measured on."""

"""A user's own multiple-choice set, written as `test/` and `dev/`, one file for each category."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.multiple_choice.rows import arrange_choices, read_choices
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.questions import sum_up
from scripts.lib.files import sha256_of
from scripts.lib.questions.bad_rows import refuse_bad_rows


def fetch(spec: Mapping[str, Any], places: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write the questions to *out* and return their facts.

    Args:
        spec: Says what the files have to be, and how they are read.
        places: Name of a file in the spec -> where it is.
        out: Existing empty folder.

    Raises:
        ConfigError: A file is no longer the planned one, or rows are no questions.
    """
    for name, sha256 in spec["files"].items():
        if sha256_of(places[name]) != sha256:
            raise ConfigError(
                f"{places[name]} changed while it was planned: start the workflow again"
            )
    found = read_choices(spec, places)
    refuse_bad_rows(spec, found)
    for name, rows in arrange_choices(spec, found).items():
        (out / name).parent.mkdir(exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / name).write_text("".join(lines), encoding="utf-8")
    return sum_up(found, out)

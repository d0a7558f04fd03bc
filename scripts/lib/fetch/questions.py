"""What is done with the questions of a benchmark, of whatever kind, where they are fetched."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.lib.data.records import is_array
from scripts.lib.fetch.datasets import copy_planned
from scripts.lib.questions.bad_rows import LEDGER, FaultOf, Rows, refuse_bad_rows, write_ledger
from scripts.lib.questions.rows import lines_of, sort_rows


def copy_questions(
    spec: Mapping[str, Any], places: Mapping[str, Path], out: Path, fault: FaultOf
) -> dict[str, Any]:
    """Copy a user's own files of questions without their bad rows, and return `sum_up`.

    Args:
        spec: The benchmark's.
        places: Name of a file in the spec -> where it is.
        out: Existing empty folder.
        fault: Says what is wrong with a row, or None.

    Raises:
        ConfigError: A file is no longer the planned one, or rows are no questions.
    """
    # The user's own files, so that an error names these.
    found = {name: sort_rows(place, fault) for name, place in places.items()}
    refuse_bad_rows(spec, found)
    copy_planned(spec["files"], places, out)
    leave_out(found, out)
    return sum_up(found, out)


def leave_out(found: Mapping[str, Rows[Any]], out: Path) -> None:
    """Take the bad rows out of files; other lines stay byte for byte, an array becomes lines."""
    for name, rows in found.items():
        if bad := {row.number for row in rows.bad}:
            lines = enumerate(lines_of(out / name), start=1)
            kept = [line for number, line in lines if number not in bad]
            if is_array(out / name):
                kept = [json.dumps(row, ensure_ascii=False).encode() for row in rows.good]
            (out / name).write_bytes(b"\n".join(kept))


def sum_up(found: Mapping[str, Rows[Any]], out: Path) -> dict[str, Any]:
    """List the rows that are left out, and return the facts of a benchmark.

    Args:
        found: The rows by file.
        out: The folder with the questions.

    Returns:
        `files`, their number, and `left_out`, the number of rows that are no questions.
    """
    files = len([path for path in out.rglob("*") if path.is_file()])
    write_ledger(found, out)
    left_out = sum(len(rows.bad) for rows in found.values())
    if left_out:
        are = "row is no question and is" if left_out == 1 else "rows are no questions and are"
        text = f"{left_out:,} {are} left out; {LEDGER} lists what was."
        print(text, file=sys.stderr)
    return {"files": files, "left_out": left_out}

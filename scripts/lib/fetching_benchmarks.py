"""Bring the questions of benchmarks into results/, in the layout that scoring reads."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.bad_rows import LEDGER, Rows, write_ledger
from scripts.lib.benchmark_files import arrange_choices, read_files, refuse_bad_rows
from scripts.lib.errors import ConfigError
from scripts.lib.fetching import copy_planned
from scripts.lib.files import sha256_of
from scripts.lib.question_rows import is_subject, lines_of
from scripts.lib.records import is_array


def fetch_benchmark(spec: Mapping[str, Any], sources: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the questions of a benchmark to *out*.

    Args:
        spec: Where they come from.
        sources: The local files that the spec names, in its order.
        out: Existing empty folder.

    Returns:
        `files`, their number, and `left_out`, the number of rows that are no questions.

    Raises:
        ConfigError: A file is no longer the planned one, rows are no questions, or the hub's rows
            cannot be had.
    """
    if spec["kind"] == "lm_eval":
        # It imports lm-eval, which takes seconds that the other kinds need not wait.
        from scripts.lib.lm_eval_fetch import fetch_tasks

        return fetch_tasks(spec, dict(zip(spec["files"], sources, strict=True)), out)
    if spec["kind"] == "multiple_choice":
        found = _write_choices(spec, dict(zip(spec["files"], sources, strict=True)), out)
    elif spec["source"] == "path":
        places = dict(zip(spec["files"], sources, strict=True))
        # The user's own files, so that an error names these.
        found = read_files(spec, places)
        refuse_bad_rows(spec, found)
        copy_planned(spec["files"], places, out)
        _leave_out(found, out)
    else:
        found = _download(spec, out)
    files = len([path for path in out.rglob("*") if path.is_file()])
    write_ledger(found, out)
    left_out = sum(len(rows.bad) for rows in found.values())
    if left_out:
        are = "row is no question and is" if left_out == 1 else "rows are no questions and are"
        text = f"{left_out:,} {are} left out; {LEDGER} lists what was."
        print(text, file=sys.stderr)
    return {"files": files, "left_out": left_out}


def _download(spec: Mapping[str, Any], out: Path) -> dict[str, Rows[Any]]:
    # It imports `datasets`, which takes seconds that local files need not wait.
    from scripts.lib.hub_rows import load_split

    names = []
    for split in ("dev", "test"):
        rows = load_split(spec["hub"], "all", split, spec["revision"], chosen=False)
        if "subject" not in rows.column_names:
            raise ConfigError(
                f"{spec['hub']} has no column subject; its columns are"
                f" {', '.join(rows.column_names)}. Choose a repository in MMLU's schema"
            )
        (out / split).mkdir()
        for subject, part in rows.to_pandas().groupby("subject", sort=True):
            if not is_subject(str(subject)):
                raise ConfigError(f"{spec['hub']}: the subject {subject!r} cannot name a file")
            names.append(f"{split}/{subject}.jsonl")
            part.to_json(out / names[-1], orient="records", lines=True)
    found = {
        # What is written here is gone after an error.
        name: dataclasses.replace(
            rows, place=Path(spec["hub"]) / name.removesuffix(".jsonl"), on_lines=False
        )
        for name, rows in read_files(spec, {name: out / name for name in names}).items()
    }
    refuse_bad_rows(spec, found)
    _leave_out(found, out)
    return found


def _leave_out(found: Mapping[str, Rows[Any]], out: Path) -> None:
    """Take the bad rows out of files; other lines stay byte for byte, an array becomes lines."""
    for name, rows in found.items():
        if bad := {row.number for row in rows.bad}:
            lines = enumerate(lines_of(out / name), start=1)
            kept = [line for number, line in lines if number not in bad]
            if is_array(out / name):
                kept = [json.dumps(row, ensure_ascii=False).encode() for row in rows.good]
            (out / name).write_bytes(b"\n".join(kept))


def _write_choices(
    spec: Mapping[str, Any], places: Mapping[str, Path], out: Path
) -> dict[str, Rows[Any]]:
    """Write a user's own set as `test/` and `dev/`, one file for each category."""
    for name, sha256 in spec["files"].items():
        if sha256_of(places[name]) != sha256:
            raise ConfigError(
                f"{places[name]} changed while it was planned: start the workflow again"
            )
    found = read_files(spec, places)
    refuse_bad_rows(spec, found)
    for name, rows in arrange_choices(spec, found).items():
        (out / name).parent.mkdir(exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / name).write_text("".join(lines), encoding="utf-8")
    return found

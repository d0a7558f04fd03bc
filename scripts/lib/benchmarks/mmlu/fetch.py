"""MMLU's questions, of a local folder or of a hub: files of subjects in `dev/` and `test/`."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.mmlu.tables import read_tables
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.datasets import check_planned
from scripts.lib.fetch.questions import copy_questions, leave_out, sum_up
from scripts.lib.questions.bad_rows import refuse_bad_rows
from scripts.lib.questions.choice_faults import mmlu_fault
from scripts.lib.questions.rows import is_subject, sort_rows


def fetch(spec: Mapping[str, Any], places: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write the questions to *out* and return their facts.

    Args:
        spec: Where they come from.
        places: Name of a local file in the spec -> where it is.
        out: Existing empty folder.

    Raises:
        ConfigError: A file is no longer the planned one, rows are no questions, or the hub's rows
            cannot be had.
    """
    if spec["source"] == "path" and not any(name.endswith(".jsonl") for name in places):
        return _write_tables(spec, places, out)
    if spec["source"] == "path":
        return copy_questions(spec, places, out, mmlu_fault)
    return _download(spec, out)


def _write_tables(spec: Mapping[str, Any], places: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write the questions of a user's tables as files of subjects."""
    check_planned(spec["files"], places)
    found = read_tables(places)
    refuse_bad_rows(spec, found)
    for name, rows in found.items():
        (out / name).parent.mkdir(exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows.good)
        (out / name).write_text("".join(lines), encoding="utf-8")
    asked = {rows.place.parent.name for name, rows in found.items() if name.startswith("test/")}
    if asked != {"test"}:
        print("test has no answers: the questions of val are asked", file=sys.stderr)
    return sum_up(found, out) | {"asked": sorted(asked)}


def _download(spec: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write a hub's rows as files of subjects."""
    # It imports `datasets`, which takes seconds that local files need not wait.
    from scripts.lib.fetch.hub import load_split

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
    found = {name: sort_rows(out / name, mmlu_fault) for name in names}
    # What is written here is gone after an error.
    found = {
        name: dataclasses.replace(
            rows, place=Path(spec["hub"]) / name.removesuffix(".jsonl"), on_lines=False
        )
        for name, rows in found.items()
    }
    refuse_bad_rows(spec, found)
    leave_out(found, out)
    return sum_up(found, out)

"""Bring the questions of benchmarks into results/, in the layout that scoring reads."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from scripts.lib.category_names import file_name
from scripts.lib.choice_rows import Choice, read_choices
from scripts.lib.errors import ConfigError
from scripts.lib.fetching import copy_planned
from scripts.lib.files import sha256_of
from scripts.lib.question_rows import (
    Row,
    answer_fault,
    is_subject,
    mmlu_fault,
    prompt_fault,
    read_rows,
)

# Kind of benchmark -> what is wrong with a row. Whether a prompt with turns has a chat template to
# go through is known where it is asked.
_FAULTS: Mapping[str, Callable[[Row], str | None]] = {
    "mmlu": mmlu_fault,
    "exact_match": partial(answer_fault, chat_template=True),
    "judged_pairs": prompt_fault,
}

# Name of the one subject of a set without categories.
_ONLY_SUBJECT = "questions"

# Longest file name of a category, in bytes: file systems allow 255, and other words go around it.
_NAME_BYTES = 120


def fetch_benchmark(spec: Mapping[str, Any], sources: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the questions of a benchmark to *out*.

    Args:
        spec: Where they come from.
        sources: The local files that the spec names, in its order.
        out: Existing empty folder.

    Raises:
        ConfigError: A file is no longer the planned one, a row is no question, or the hub's rows
            cannot be had.
        ScoreError: A row of JSON lines is no question; with file and line.
    """
    if spec["kind"] == "lm_eval":
        # It imports lm-eval, which takes seconds that the other kinds need not wait.
        from scripts.lib.lm_eval_fetch import fetch_tasks

        return fetch_tasks(spec, dict(zip(spec["files"], sources, strict=True)), out)
    if spec["kind"] == "multiple_choice":
        _write_choices(spec, dict(zip(spec["files"], sources, strict=True)), out)
    elif spec["source"] == "path":
        # The user's own files, so that an error names these.
        for place in sources:
            read_rows(place, _FAULTS[spec["kind"]])
        copy_planned(spec["files"], dict(zip(spec["files"], sources, strict=True)), out)
    else:
        _download(spec, out)
    return {"files": len([path for path in out.rglob("*") if path.is_file()])}


def _download(spec: Mapping[str, Any], out: Path) -> None:
    # It imports `datasets`, which takes seconds that local files need not wait.
    from scripts.lib.hub_rows import load_split

    for split in ("dev", "test"):
        rows = load_split(spec["hub"], "all", split, spec["revision"])
        if "subject" not in rows.column_names:
            raise ConfigError(
                f"{spec['hub']} has no column subject; its columns are"
                f" {', '.join(rows.column_names)}. Choose a repository in MMLU's schema"
            )
        (out / split).mkdir()
        for subject, part in rows.to_pandas().groupby("subject", sort=True):
            if not is_subject(str(subject)):
                raise ConfigError(f"{spec['hub']}: the subject {subject!r} cannot name a file")
            part.to_json(out / split / f"{subject}.jsonl", orient="records", lines=True)
            read_rows(out / split / f"{subject}.jsonl", _FAULTS[spec["kind"]])


def _write_choices(spec: Mapping[str, Any], places: Mapping[str, Path], out: Path) -> None:
    """Write a user's own set as `test/` and `dev/`, one file for each category."""
    for name, sha256 in spec["files"].items():
        if sha256_of(places[name]) != sha256:
            raise ConfigError(
                f"{places[name]} changed while it was planned: start the workflow again"
            )
    by_split = {
        split: read_choices(
            place,
            answers=spec["answers"],
            category=spec["shots_category" if split == "shots" else "category"],
        )
        for split, place in ((name.partition(".")[0], place) for name, place in places.items())
    }
    questions = _by_category(by_split["test"])
    names = _file_names(questions, places["test" + _suffix(spec["files"], "test")])
    examples = _by_category(by_split.get("shots", []))
    for category, rows in questions.items():
        _write_rows(out / "test" / f"{names[category]}.jsonl", rows)
        if not spec["shots"]:
            continue
        shown = examples.get(category if spec["shots_category"] else None, [])
        if len(shown) < spec["shots"]:
            raise ConfigError(
                f"{places['shots' + _suffix(spec['files'], 'shots')]} holds {len(shown)} questions"
                f"{f' of {category}' if spec['shots_category'] else ''}, but"
                f" {spec['shots']} shots are asked for; add rows, or lower `shots`"
            )
        _write_rows(out / "dev" / f"{names[category]}.jsonl", shown[: spec["shots"]])


def _suffix(files: Mapping[str, str], split: str) -> str:
    return next(Path(name).suffix for name in files if name.startswith(f"{split}."))


def _by_category(rows: Sequence[Choice]) -> dict[str | None, list[Choice]]:
    """Return category -> its rows in the order of the file."""
    ordered = sorted(rows, key=lambda row: row["subject"] or "")
    return {key: list(part) for key, part in groupby(ordered, key=lambda row: row["subject"])}


def _file_names(categories: Mapping[str | None, Any], place: Path) -> dict[str | None, str]:
    """Return category -> the stem of its file.

    Raises:
        ConfigError: Two categories would share a file, here or among the scores.
    """
    names: dict[str | None, str] = {}
    taken = {"average": "the average"}
    for category in categories:
        name = _ONLY_SUBJECT if category is None else file_name(category)
        if name in taken or not name.strip("_") or len(name.encode()) > _NAME_BYTES:
            raise ConfigError(
                f"{place}: the category {category!r} cannot name a file of its own"
                + (f" beside {taken[name]}" if name in taken else "")
                + "; give it a short name of letters and digits that differs from the others"
            )
        names[category] = name
        taken[name] = repr(category)
    return names


def _write_rows(path: Path, rows: Sequence[Choice]) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")

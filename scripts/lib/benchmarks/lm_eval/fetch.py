"""Bring lm-eval's tasks and all rows that they read into results/, and try them before a model is.

Everything that would stop the scoring job later is found here, on a machine with a network and
without a GPU, and said at once: names that do not exist, rows that cannot be had, packages that are
not installed, tasks and metrics that cannot be compared question by question.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lm_eval

from scripts.lib.benchmarks.lm_eval.environment import keep_data
from scripts.lib.benchmarks.lm_eval.layout import (
    DATA,
    LOCAL,
    OWN,
    OWN_FOLDER,
    ROWS_FOLDER,
    TASKS_FILE,
)
from scripts.lib.benchmarks.lm_eval.resolve import Leaf, find_leaves, reason_of
from scripts.lib.benchmarks.lm_eval.rows import RowSources, Source, load_rows, splits_of, write_rows
from scripts.lib.benchmarks.lm_eval.tasks import (
    FetchedTask,
    build_task,
    check_metrics,
    described,
    questions_of_task,
    unknown_metrics,
    values_of,
)
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.datasets import copy_planned
from scripts.lib.questions.category_names import file_name
from scripts.lib.questions.question import Answer, Question


def fetch(spec: Mapping[str, Any], places: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write tasks, rows and a user's own files to *out*.

    Args:
        spec: Names or own files of tasks, and pins of what they read.
        places: Name in the spec's files -> where the file is.
        out: Existing empty folder.

    Returns:
        `{"tasks", "datasets", "unsafe_code"}`: the leaf tasks with their metrics, where each
        dataset came from, and the tasks that run what a model generates.

    Raises:
        ConfigError: Anything will not do; lists all of it.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = out / OWN_FOLDER
    files = {name: sha for name, sha in spec["files"].items() if name.startswith(OWN)}
    copy_planned(files, places, out)
    rows = RowSources(
        data=_below(DATA, places) if spec["data"] else None,
        local=_below(LOCAL, places),
        revisions=spec["revisions"],
    )
    problems: list[str] = []
    leaves = find_leaves(spec["tasks"], [own / name for name in spec["own"]], own, problems)
    fetched, read = _fetch_rows(leaves, rows, out, problems)
    try:
        yamls = [task.leaf.yaml for task in fetched if task.leaf.yaml]
        keep_data(out, [path for folder, path in yamls if folder == "lm_eval"])
    except ConfigError as error:
        problems.append(str(error))
    _check_names(fetched, problems)
    facts = _try_all(fetched, out, problems)
    if problems:
        raise ConfigError("\n  ".join(["these tasks cannot be asked:", *problems]))
    document = {
        "lm_eval": lm_eval.__version__,
        "tasks": [
            {**task.leaf.to_json(own), "rows": task.rows, "splits": task.splits} for task in fetched
        ],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (out / TASKS_FILE).write_text(text + "\n", encoding="utf-8")
    return {**facts, "datasets": read}


def _below(start: str, places: Mapping[str, Path]) -> dict[str, Path]:
    return {
        name.removeprefix(start): place for name, place in places.items() if name.startswith(start)
    }


def _fetch_rows(
    leaves: Sequence[Leaf], places: RowSources, out: Path, problems: list[str]
) -> tuple[list[FetchedTask], dict[str, str]]:
    """Load every dataset once and write the splits that any task reads."""
    wanted: dict[str, tuple[Source, list[str]]] = {}
    fetched = []
    for leaf in leaves:
        try:
            config = described(leaf, out / OWN_FOLDER)
            splits, source = splits_of(config), Source.of(config)
            if unknown := unknown_metrics(config):
                raise ConfigError(
                    f"lm-eval knows no metric {', '.join(unknown)}; correct the name, or say its"
                    " `aggregation` too"
                )
        # A task's file may import anything, and fail in any way.
        except Exception as error:
            problems.append(f"{leaf.name}: {leaf.error or reason_of(error)}")
            continue
        fetched.append(FetchedTask(leaf, source.key, splits))
        known = wanted.setdefault(source.key, (source, []))[1]
        known += [split for split in splits if split not in known]
    repositories = {str(source.path) for source, _ in wanted.values()}
    problems += [
        f"revisions: no task reads {name}; they read {', '.join(sorted(repositories))}"
        for name in places.revisions
        if name not in repositories
    ]
    read, failed = {}, set()
    for key, (source, needed) in wanted.items():
        try:
            rows, origin = load_rows(source, needed, places)
            write_rows(rows, needed, out / ROWS_FOLDER / key)
            read[source.words()] = origin
        except ConfigError as error:
            failed.add(key)
            names = [task.leaf.name for task in fetched if task.rows == key]
            problems.append(f"{_listed(names)}: the dataset {source.words()} {error}")
    return [task for task in fetched if task.rows not in failed], read


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 6 else f"{names[0]} and {len(names) - 1} more tasks"


def _check_names(fetched: Sequence[FetchedTask], problems: list[str]) -> None:
    """Every task has score files of its own."""
    taken = {"average": "the average"}
    for task in fetched:
        name = file_name(task.leaf.name)
        if name in taken:
            problems.append(
                f"{task.leaf.name}: cannot have score files of its own beside {taken[name]}"
            )
        taken[name] = task.leaf.name


def _try_all(fetched: Sequence[FetchedTask], out: Path, problems: list[str]) -> dict[str, Any]:
    """Build every task, ask its first question of nobody, and return what is to be known of it."""
    metrics: dict[str, list[str] | None] = {}
    unsafe = []
    for item in fetched:
        name = item.leaf.name
        try:
            task = build_task(item, out, shots=None)
            if getattr(task, "MULTIMODAL", False):
                raise ConfigError("shows images or sounds, which is not supported")
            check_metrics(task)
            if getattr(task, "UNSAFE_CODE", False):
                unsafe.append(name)
            metrics[name] = _metrics(task, name)
        # As above: it is the task's own code that runs.
        except Exception as error:
            problems.append(f"{name}: {reason_of(error)}")
    return {"tasks": metrics, "unsafe_code": unsafe}


def _metrics(task: Any, name: str) -> list[str] | None:
    """Return the values that the task gives for an answer; None if that cannot be told."""
    question = next(questions_of_task(task, name, limit=1, chat=None, grade=_unasked))
    if getattr(task, "UNSAFE_CODE", False):
        return None
    said = {"loglikelihood": (-1.0, False), "loglikelihood_rolling": -1.0, "generate_until": ""}
    try:
        values, _ = values_of(question, [said[one.request_type] for one in question.requests])
    # Of a model that says nothing a task may make nothing; one that says something it may judge.
    except Exception:
        return None
    return list(values)


def _unasked(question: Question, replies: Sequence[Any]) -> Answer:
    """Stand for the grader of a question that no model is asked."""
    raise AssertionError(f"{question.id} is asked of nobody while it is fetched")

"""lm-eval's own tasks over rows that were fetched: no network, and the same prompts every time."""

import json
import logging
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.config.task import TaskConfig
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks._factory import TaskFactory

from scripts.lib.benchmarks.lm_eval.layout import OWN_FOLDER, ROWS_FOLDER, TASKS_FILE
from scripts.lib.benchmarks.lm_eval.resolve import Leaf, reading
from scripts.lib.benchmarks.lm_eval.rows import read_rows
from scripts.lib.errors import ConfigError


@dataclass(frozen=True)
class FetchedTask:
    """A task and the rows that it reads.

    Attributes:
        leaf: The task.
        rows: Folder of its rows below `rows/`.
        splits: Those that it reads.
    """

    leaf: Leaf
    rows: str
    splits: tuple[str, ...]


def read_tasks(benchmark: Path) -> list[FetchedTask]:
    """Return the tasks of a fetched benchmark, in order."""
    document = json.loads((benchmark / TASKS_FILE).read_text(encoding="utf-8"))
    own = benchmark / OWN_FOLDER
    with reading(benchmark):
        return [
            FetchedTask(Leaf.from_json(item, own), item["rows"], tuple(item["splits"]))
            for item in document["tasks"]
        ]


def described(leaf: Leaf, own: Path) -> TaskConfig:
    """Return the config of a task, read but not built.

    Raises:
        ConfigError: Its file could not be read when it was found.
    """
    if leaf.error:
        raise ConfigError(leaf.error)
    with reading(own.parent):
        config = TaskFactory()._load_full_config(leaf.entry(own), dict(leaf.overrides))
    for key in ("tag", "group", "task_list"):
        config.pop(key, None)
    return TaskConfig(**config)


def build_task(fetched: FetchedTask, benchmark: Path, *, shots: int | None) -> Any:
    """Return lm-eval's task, ready to be asked, as `simple_evaluate` prepares it.

    A task that fixes its shots at 0 keeps them, whatever *shots* says: its examples, if it has any,
    are part of its text.

    Args:
        fetched: One of `read_tasks`.
        benchmark: The folder that it is from.
        shots: Worked examples; None for the task's own number.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    rows = read_rows(benchmark / ROWS_FOLDER / fetched.rows, fetched.splits)
    own = benchmark / OWN_FOLDER
    # Some tasks shuffle what they show; lm-eval starts with these.
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)
    with reading(benchmark):
        task = TaskFactory().build(
            fetched.leaf.entry(own),
            overrides={**fetched.leaf.overrides, "custom_dataset": lambda **_: rows},
            registry={},
        )
    declared = task.config.num_fewshot
    if shots is not None and declared != 0:
        task.set_config("num_fewshot", shots)
    elif declared is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return task


def stated_of(task: Any) -> dict[str, Any]:
    """Return what has to be said of a task beside its scores."""
    return {
        "version": str(task.VERSION),
        "shots": task.config.num_fewshot,
        "output_type": task.OUTPUT_TYPE,
    }

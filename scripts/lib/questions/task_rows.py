"""Rows that are already in memory, as an lm-eval task's data: no file, no network."""

from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset, DatasetDict


def in_memory(splits: Mapping[str, list[dict[str, Any]]]) -> Callable[..., Any]:
    """Return what a task's config takes for its `custom_dataset`; empty splits are left out."""

    def load(**_: object) -> Any:
        return DatasetDict({name: Dataset.from_list(docs) for name, docs in splits.items() if docs})

    return load

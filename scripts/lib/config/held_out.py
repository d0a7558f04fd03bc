"""Domain retention: a benchmark on what a dataset holds out, as a configuration names it."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from scripts.lib.config.benchmark_options import ConversationOptions
from scripts.lib.config.checks import Raw, entries
from scripts.lib.config.fields import Positive, Text, setting
from scripts.lib.config.judged_pairs import JudgedPairs
from scripts.lib.config.problems import Problem, is_unknown
from scripts.lib.config.sources import Dataset


class HeldOut(ConversationOptions):
    """How well a model does what a dataset teaches, on conversations that no run was trained on."""

    kind: Literal["held_out"] = setting(
        "Perplexity of held-out answers, and whether the model's own answers keep to the domain's"
        " form.",
        "identity",
    )
    dataset: Text = setting(
        "Dataset whose held-out conversations are asked.",
        "identity",
        allowed="a name under `datasets`",
    )
    split: Literal["test", "valid"] = setting(
        "Which of its held-out splits; training looks at valid where it evaluates or stops early,"
        " so test is the stricter one.",
        "identity",
        "test",
    )
    max_new_tokens: Positive = setting("Longest answer, in tokens.", "identity", 256)


def unknown_dataset_problems(raw: Raw) -> Iterator[Problem]:
    """Yield the datasets that benchmarks name and nobody declares."""
    declared = [str(known) for known, _ in entries(raw, "datasets")]
    for name, benchmark in entries(raw, "benchmarks"):
        dataset = benchmark.get("dataset") if isinstance(benchmark, Mapping) else None
        if isinstance(dataset, str) and dataset not in declared:
            yield Problem(("benchmarks", name, "dataset"), is_unknown(dataset, "dataset", declared))


def missing_split_problems(
    benchmarks: Mapping[str, Any], datasets: Mapping[str, Dataset]
) -> Iterator[Problem]:
    """Yield the splits that benchmarks ask for and their datasets do not hold out."""
    for name, benchmark in benchmarks.items():
        if not isinstance(benchmark, HeldOut | JudgedPairs) or benchmark.dataset is None:
            continue
        split, dataset = benchmark.split, datasets[benchmark.dataset]
        if getattr(dataset, f"{split}_fraction") == 0 and split not in dataset.given_splits:
            yield Problem(
                ("benchmarks", name, "split"),
                f"is {split!r}, and datasets.{benchmark.dataset} holds no such rows out;"
                f" give it a {split} split, or a {split}_fraction above 0, or choose another split",
            )

"""The benchmarks that a configuration can name: the options of each kind."""

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias, get_args

from pydantic import Discriminator, Tag

from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.held_out.options import HeldOut
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.benchmarks.lm_eval.options import LmEval
from scripts.lib.benchmarks.mmlu.options import HubMmlu, LocalMmlu
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.config.benchmark_options import BenchmarkOptions
from scripts.lib.config.checks import entries
from scripts.lib.config.expansion import Raw
from scripts.lib.config.problems import Problem, is_unknown
from scripts.lib.config.sources import Dataset, given_keys

_Form: TypeAlias = (
    Annotated[LocalMmlu, Tag("LocalMmlu")]
    | Annotated[HubMmlu, Tag("HubMmlu")]
    | Annotated[MultipleChoice, Tag("MultipleChoice")]
    | Annotated[ExactMatch, Tag("ExactMatch")]
    | Annotated[LmEval, Tag("LmEval")]
    | Annotated[HeldOut, Tag("HeldOut")]
    | Annotated[JudgedPairs, Tag("JudgedPairs")]
)

FORMS: tuple[type[BenchmarkOptions], ...] = tuple(get_args(form)[0] for form in get_args(_Form))
"""The options of every kind; a kind can have several forms."""


def _form(value: object) -> str | None:
    """Tell by its kind and keys which form of benchmark *value* is meant to be."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    keys = given_keys(value)
    meant = (form for form in FORMS if form.kind_name() == kind and form.is_meant(keys))
    return next((form.__name__ for form in meant), None)


_ALLOWED = dict.fromkeys(f"kind {form.kind_name()} with {form.NEEDS}" for form in FORMS)

Benchmark: TypeAlias = Annotated[
    _Form,
    Discriminator(
        _form,
        custom_error_type="form_of_benchmark",
        custom_error_message=f"is no benchmark; allowed: {'; '.join(_ALLOWED)}",
    ),
]


def unknown_dataset_problems(raw: Raw) -> Iterator[Problem]:
    """Yield the datasets that benchmarks name and nobody declares."""
    declared = [str(known) for known, _ in entries(raw, "datasets")]
    for name, benchmark in entries(raw, "benchmarks"):
        dataset = benchmark.get("dataset") if isinstance(benchmark, Mapping) else None
        if isinstance(dataset, str) and dataset not in declared:
            yield Problem(("benchmarks", name, "dataset"), is_unknown(dataset, "dataset", declared))


def missing_split_problems(
    benchmarks: Mapping[str, Benchmark], datasets: Mapping[str, Dataset]
) -> Iterator[Problem]:
    """Yield the splits that benchmarks ask for and their datasets do not hold out."""
    for name, benchmark in benchmarks.items():
        if not (asked := benchmark.held_out_split()):
            continue
        label, split = asked
        dataset = datasets[label]
        if getattr(dataset, f"{split}_fraction") == 0 and split not in dataset.given_splits:
            yield Problem(
                ("benchmarks", name, "split"),
                f"is {split!r}, and datasets.{label} holds no such rows out;"
                f" give it a {split} split, or a {split}_fraction above 0, or choose another split",
            )

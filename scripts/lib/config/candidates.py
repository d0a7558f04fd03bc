"""Candidates beside models and runs: combinations of adapters, and what exists already."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Discriminator, Tag, model_validator

from scripts.lib.adapters.lora import changes_base
from scripts.lib.config.checks import entries
from scripts.lib.config.existing import Checkpoint, GivenAdapter
from scripts.lib.config.expansion import NamedRun, swept
from scripts.lib.config.fields import (
    Flag,
    Fraction,
    NamedNotEmpty,
    Positive,
    Seed,
    Settings,
    Weight,
    group,
    refusal,
    setting,
)
from scripts.lib.config.lora import Lora
from scripts.lib.config.problems import Problem, is_unknown
from scripts.lib.config.runs import Publish, Run
from scripts.lib.config.sources import given_keys

Method = Literal[
    "cat",
    "linear",
    "svd",
    "ties",
    "ties_svd",
    "dare_linear",
    "dare_linear_svd",
    "dare_ties",
    "dare_ties_svd",
    "magnitude_prune",
    "magnitude_prune_svd",
]

SINGLE = ("cat", "linear")
"""Methods for one adapter alone, which can only be scaled: PEFT does so whatever it is told."""


class Combination(Settings):
    """One adapter made of those of several runs on the same model."""

    combine: NamedNotEmpty[Weight] = setting(
        "Runs, or adapters that exist already, and the weight of each; a negative weight takes away"
        " what one has learnt.",
        "identity",
        allowed="a mapping from names under `runs`, or of adapters under `candidates`, to numbers"
        " other than 0",
    )
    method: Method = setting(
        "How PEFT combines them. `cat` is the exact weighted sum, of rank the sum of the ranks;"
        " `svd` is that sum cut to `rank`; all others are approximations on purpose.",
        "identity",
        "cat",
    )
    density: Fraction | None = setting(
        "Share of the values that is kept, where the method prunes: `ties`, `dare` and"
        " `magnitude_prune`.",
        "identity",
        None,
    )
    rank: Positive | None = setting(
        "Rank of the result of the methods in `svd`; null is the largest rank combined.",
        "identity",
        None,
    )
    majority_sign: Literal["total", "frequency"] = setting(
        "How the methods in `ties` elect a sign: by the sum of the values, or by their number.",
        "identity",
        "total",
    )
    seed: Seed = setting("Seed of what the methods in `dare` drop.", "identity", 42)
    merge: Flag = setting(
        "Merge the result into the model and prove it; false scores model and adapter as they are.",
        "identity",
        True,
    )
    keep_merged: Flag = setting(
        "Keep the merged model after its proof and scores are there.", "execution", True
    )
    publish: Publish = group("Where the merged model is published.", Publish)

    @property
    def prunes(self) -> bool:
        """Whether the method keeps only a part of the values."""
        return self.method.startswith(("ties", "dare", "magnitude_prune"))

    @property
    def needs_equal_ranks(self) -> bool:
        """Whether the method adds up the adapters' matrices entry by entry."""
        return self.method != "cat" and not self.method.endswith("svd")

    @property
    def is_random(self) -> bool:
        """Whether a seed decides the result."""
        return self.method.startswith("dare")

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        """Refuse what the method has no use for: it would look as if it had changed something."""
        if self.prunes and not self.density:
            raise refusal(f"leaves method {self.method} nothing; give a share above 0", "density")
        if self.density is not None and not self.prunes:
            raise refusal(f"is of no use to method {self.method}; leave it out", "density")
        if self.rank is not None and not self.method.endswith("svd"):
            raise refusal(f"is of no use to method {self.method}; leave it out", "rank")
        if len(self.combine) == 1 and self.method not in SINGLE:
            raise refusal(
                "needs two runs or more; one run alone can only be scaled, by cat or linear",
                "method",
            )
        return self


def _form(value: object) -> str | None:
    """Tell by its keys which kind of candidate *value* is meant to be."""
    keys = given_keys(value)
    if "adapter" in keys:
        return "GivenAdapter"
    if "model" in keys:
        return "Checkpoint"
    return None if "base" in keys or not isinstance(value, Mapping | Settings) else "Combination"


Candidate: TypeAlias = Annotated[
    Annotated[Combination, Tag("Combination")]
    | Annotated[Checkpoint, Tag("Checkpoint")]
    | Annotated[GivenAdapter, Tag("GivenAdapter")],
    Discriminator(
        _form,
        custom_error_type="form_of_candidate",
        custom_error_message="is no candidate; allowed: the key combine, or model and"
        " base, or adapter and base",
    ),
]


def unknown_run_problems(raw: Mapping[str, Any], runs: Sequence[NamedRun]) -> Iterator[Problem]:
    """Yield what combinations name and no run is called.

    Args:
        raw: The configuration as written.
        runs: Its runs, sweeps expanded; one with an error of its own is not among them.
    """
    whole = [str(name) for name, run in entries(raw, "runs") if not swept(run)]
    adapters = [n for n, e in entries(raw, "candidates") if "adapter" in given_keys(e)]
    known = list(dict.fromkeys([*whole, *(run.name for run in runs), *adapters]))
    for name, entry in entries(raw, "candidates"):
        combined = entry.get("combine") if isinstance(entry, Mapping) else None
        for run in combined if isinstance(combined, Mapping) else ():
            if isinstance(run, str) and run not in known:
                yield Problem(("candidates", name, "combine", run), _unknown(run, raw, runs, known))


def _unknown(
    run: str, raw: Mapping[str, Any], runs: Sequence[NamedRun], known: Sequence[str]
) -> str:
    candidates = dict(entries(raw, "candidates"))
    if "model" in given_keys(candidates.get(run)):
        return "is a finished model, and adapters are combined; name runs"
    if run in candidates:
        return "is a combination itself; name the runs that it is made of"
    if points := [entry for entry in runs if entry.source == run]:
        what = "has seeds" if points[0].group == run else "is a sweep"
        return f"{what}; name its runs: {', '.join(entry.name for entry in points)}"
    if seeds := [entry.name for entry in runs if entry.group == run]:
        return f"has seeds; name its runs: {', '.join(seeds)}"
    return is_unknown(run, "run", known)


def combination_problems(
    combinations: Mapping[str, Combination],
    runs: Mapping[str, Run],
    given: Mapping[str, GivenAdapter],
    templates: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield why some adapters cannot be combined as asked.

    What the files of a given adapter say is the business of the job.

    Args:
        combinations: What to combine.
        runs: All runs, sweeps expanded.
        given: The adapters that exist already.
        templates: Run -> its chat template: its own, else its model's.
    """
    bases = {run: one.model for run, one in runs.items()}
    bases |= {adapter: one.base for adapter, one in given.items()}
    for name, combination in combinations.items():
        (first, *_) = combination.combine
        # What goes on from an adapter has its shape, which its files tell.
        own = [m for m in combination.combine if m in runs and runs[m].continue_from is None]
        for run in combination.combine:
            path = ("candidates", name, "combine", run)
            if run in own:
                yield from (Problem(path, text) for text in _kind_problems(runs[run].lora))
            if bases[run] != bases[first]:
                yield Problem(
                    path,
                    f"tunes {bases[run]}, and {first} tunes {bases[first]}; combine runs on one"
                    " model",
                )
        first = own[0] if own else first
        for run in own:
            path = ("candidates", name, "combine", run)
            if templates[run] != templates[first]:
                yield Problem(
                    path,
                    f"has the chat template {templates[run]}, and {first} has {templates[first]};"
                    " the combination could carry only one of them",
                )
        if not combination.needs_equal_ranks:
            continue
        shapes = {run: lora for run in own if (lora := runs[run].lora) is not None}
        for run, lora in shapes.items():
            if key := _unequal_ranks(lora):
                yield Problem(
                    ("candidates", name, "combine", run),
                    f"has ranks by layer ({key}), and {combination.method} needs one rank; cat, svd"
                    " and the methods ending in svd do not",
                )
        ranks = {run: saved_rank(lora) for run, lora in shapes.items()}
        if len(set(ranks.values())) > 1:
            told = ", ".join(f"{run} {rank}" for run, rank in ranks.items())
            yield Problem(
                ("candidates", name, "method"),
                f"{combination.method!r} needs adapters of one rank, and these have: {told};"
                " cat, svd and the methods ending in svd do not",
            )


def _kind_problems(lora: Lora | None) -> Iterator[str]:
    """Yield why an adapter of this kind cannot be combined at all."""
    if lora is None:
        yield (
            "trains all weights (lora: null) and has no adapter to combine; combine runs with one"
        )
        return
    if lora.use_dora:
        yield "trains DoRA magnitudes, which have no weighted sum; combine runs without use_dora"
    if lora.target_parameters:
        yield "trains parameters (target_parameters), which no method of PEFT combines"
    if lora.modules_to_save:
        yield (
            f"trains whole modules ({', '.join(lora.modules_to_save)}), which no method combines;"
            " combine runs without modules_to_save"
        )
    if lora.bias != "none":
        yield f"trains biases ({lora.bias}), which no method combines; combine runs with bias: none"


def _unequal_ranks(lora: Lora) -> str:
    """Return the setting that gives layers ranks of their own, or nothing."""
    if lora.rank_pattern:
        return "rank_pattern"
    return "init: eva, eva_rho above 1" if lora.init == "eva" and lora.eva_rho > 1 else ""


def saved_rank(lora: Lora) -> int:
    """Return the rank of the adapter as training saves it."""
    # What moved weights out of the base is saved at twice its rank, for the base as it was.
    return max([lora.r, *lora.rank_pattern.values()]) * (2 if changes_base(lora.init) else 1)

"""Candidates that a configuration makes of several runs: combinations of their adapters."""

from typing import Literal, Self

from pydantic import model_validator

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
from scripts.lib.config.publish import Publish

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
        "Runs and the weight of each; a negative weight takes away what a run has learnt.",
        "identity",
        allowed="a mapping from names under `runs` to numbers other than 0",
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

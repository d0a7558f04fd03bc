"""Runs with several seeds as one line of a table, their members folded below it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from scripts.lib.compare.document import Comparison, ListedCandidate, SeedEffect, SeedGroup
from scripts.lib.compare.seed_tables import counted
from scripts.lib.compare.wording import with_interval

Effects = Mapping[str, SeedEffect]
"""Category or measure -> mean effect of a run with seeds."""


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Who stands in one line.

    Attributes:
        groups: Name for runs that differ in their seed alone -> these.
        effects: Benchmark -> such a name -> its mean effects.
    """

    groups: Mapping[str, SeedGroup]
    effects: Mapping[str, Mapping[str, Effects]]

    @classmethod
    def of(cls, document: Comparison) -> "Folded":
        """Return who stands in one line of a comparison's tables."""
        effects = {name: found["effects"] for name, found in document["seeds"].items()}
        return cls(groups=document["groups"], effects=effects)

    def on(self, benchmark: str) -> Mapping[str, Effects]:
        """Return the mean effects on a benchmark, of those that were compared with their base."""
        return self.effects.get(benchmark, {})

    def members(self, benchmark: str) -> Set[str]:
        """Return the runs that have no line of their own on a benchmark."""
        return {name for group in self.on(benchmark) for name in self.groups[group]["members"]}

    def lines(self, benchmark: str, candidates: Sequence[ListedCandidate]) -> list[ListedCandidate]:
        """Return who has a line: runs of one group under the group's name, where the first was."""
        members = self.members(benchmark)
        lines: dict[str, ListedCandidate] = {}
        for one in candidates:
            name = one["group"] if one["name"] in members else None
            line: ListedCandidate = {**one, "name": name or one["name"]}
            lines.setdefault(line["name"], line)
        return list(lines.values())

    def below(self, group: str, candidates: Sequence[ListedCandidate]) -> list[ListedCandidate]:
        """Return who stands in the table below a line: the base and the members."""
        names = {self.groups[group]["base"], *self.groups[group]["members"]}
        return [one for one in candidates if one["name"] in names]

    def role(self, line: str, role: str, effects: Mapping[str, Effects]) -> str:
        """Return the role of a line, with the number of seeds where it is their mean."""
        return (
            f"{role}, mean of {len(self.groups[line]['members'])} seeds"
            if line in effects
            else role
        )

    def title(self, group: str) -> str:
        """Return the words that unfold the members."""
        return f"{group}: the {counted(len(self.groups[group]['members']))} trainings one by one"


def effect_words(effect: SeedEffect) -> str:
    """Return a mean effect and its interval as a cell has them: `+2.10, +0.90 to +3.30`."""
    decimals, unit = (2, "") if effect["unit"] == "points" else (3, " nats")
    return f"{with_interval(effect['difference'], effect['interval'], decimals=decimals)}{unit}"


def spread_words(effect: SeedEffect) -> str:
    """Return the two spreads of a mean effect as a cell has them."""
    decimals = 2 if effect["unit"] == "points" else 3
    stderr = effect["question_stderr"]
    questions = "" if stderr is None else f", questions ± {stderr:.{decimals}f}"
    return f"seeds ± {effect['seed_sd']:.{decimals}f}{questions}"

"""What several seeds tell: each group's mean effect, and which differences seeds could make."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.lib.compare.between_seeds import (
    Measure,
    Spread,
    interval_of,
    mean_effect,
    pooled_spread,
    seed_limit,
)
from scripts.lib.compare.document import SeedGroup, SeedPair, SeedResult
from scripts.lib.compare.spec import ComparedCandidate
from scripts.lib.score.corrections import decide_together
from scripts.lib.score.standard_error import standard_error

MOST_PAIRED = 16
"""Groups and runs on one base and data that are set side by side two by two: 120 pairs."""


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """A group of runs, or a run without seeds.

    Attributes:
        name: Its name.
        members: Names of its runs.
    """

    name: str
    members: tuple[str, ...]

    @property
    def is_group(self) -> bool:
        return len(self.members) > 1


def seed_groups(candidates: Sequence[ComparedCandidate]) -> dict[str, SeedGroup]:
    """Return each group of runs that differ in their seed alone."""
    found: dict[str, SeedGroup] = {}
    for one in candidates:
        if one.group is not None:
            group = found.setdefault(one.group, {"base": str(one.base), "members": []})
            group["members"].append(one.name)
    return found


def beside_seeds(candidates: Sequence[ComparedCandidate]) -> set[str]:
    """Return the candidates whose answers are needed: groups, what stands beside them, bases."""
    named = {name for units in _pools(candidates) for unit in units for name in unit.members}
    return named | {group["base"] for group in seed_groups(candidates).values()}


def seed_result(
    candidates: Sequence[ComparedCandidate], measures: Mapping[str, Measure]
) -> SeedResult:
    """Return what several seeds tell on one benchmark.

    Args:
        candidates: All candidates.
        measures: Category or measure -> the answers of those of `beside_seeds` that were asked;
            pairs are compared by the first.
    """
    result: SeedResult = {"effects": {}, "pairs": []}
    if not measures:
        return result
    first = next(iter(measures.values()))
    asked = first.values.keys()
    for name, group in seed_groups(candidates).items():
        if asked >= {group["base"], *group["members"]}:
            result["effects"][name] = {
                label: mean_effect(
                    measure.table(group["members"]) - measure.table([group["base"]]),
                    unit=measure.unit,
                )
                for label, measure in measures.items()
            }
            # What is measured first was named in advance.
            decide_together([*result["effects"][name].values()][1:], "categories")
    for pool in _pools(candidates):
        units = [unit for unit in pool if asked >= {*unit.members}]
        groups = [unit for unit in units if unit.is_group]
        if groups and len(units) <= MOST_PAIRED:
            result["pairs"] += [
                _pair(one, other, groups, first) for one, other in itertools.combinations(units, 2)
            ]
    return result


def _pools(candidates: Sequence[ComparedCandidate]) -> list[list[_Unit]]:
    """Return the groups and single runs of each base and data on which there is a group."""
    pools: dict[tuple[str | None, str | None], dict[str, tuple[str, ...]]] = {}
    for one in candidates:
        if one.kind == "run":
            units = pools.setdefault((one.base, one.trained_on), {})
            name = one.group or one.name
            units[name] = (*units.get(name, ()), one.name)
    found = [
        [_Unit(name=name, members=members) for name, members in units.items()]
        for units in pools.values()
    ]
    return [units for units in found if any(unit.is_group for unit in units)]


def _pair(one: _Unit, other: _Unit, groups: Sequence[_Unit], measure: Measure) -> SeedPair:
    """Return how two units differ.

    The spread is that of the groups among them. Where there is none, it is that of all groups on
    the same base and data, which other settings need not share.
    """
    sources = [unit for unit in (one, other) if unit.is_group] or groups
    spread = _spread(sources, measure)
    questions = measure.table(one.members).mean(axis=0) - measure.table(other.members).mean(axis=0)
    difference, error = float(questions.mean()), standard_error(questions.tolist())
    share = 1 / len(one.members) + 1 / len(other.members)
    limit = seed_limit(spread, share)
    return {
        "one": one.name,
        "other": other.name,
        "unit": measure.unit,
        "difference": difference,
        "interval": interval_of(difference, error, len(questions), spread, share),
        "seed_sd": spread.sd,
        "spread_of": [unit.name for unit in sources],
        "limit": limit,
        "within_seeds": abs(difference) <= limit,
    }


def _spread(groups: Sequence[_Unit], measure: Measure) -> Spread:
    return pooled_spread([measure.table(unit.members).mean(axis=1).tolist() for unit in groups])

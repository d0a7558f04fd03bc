"""The sections of a comparison that one kind of benchmark has to itself."""

from collections.abc import Collection, Mapping
from typing import Any

from scripts.lib.benchmarks.kinds import load

SECTIONS: Mapping[str, str] = {"held_out": "held_out", "judged": "judged_pairs"}
"""Section of `comparison.json`, in their order -> the kind that it is about."""


def parts_of(rule: str, found: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return section -> its kind's module for a rule, of each section that holds a benchmark.

    Args:
        rule: Whose program asks.
        found: Section -> names of its benchmarks; a parsed comparison is such a mapping.
    """
    return {section: load(rule, kind) for section, kind in SECTIONS.items() if found[section]}

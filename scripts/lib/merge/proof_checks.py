"""The form of a proof's findings."""

from typing import TypedDict


class Check(TypedDict):
    """One finding of a proof."""

    name: str
    passed: bool
    evidence: str


def make_check(name: str, passed: bool, evidence: str) -> Check:
    """Return a finding."""
    return {"name": name, "passed": passed, "evidence": evidence}

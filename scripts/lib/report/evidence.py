"""What the report shows of the way to the scores: data, proofs, provenance."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from scripts.lib.report.manifests import (
    GivenAdapter,
    Manifest,
    Manifests,
    ReportedCandidate,
    WeightChanges,
    facts_of,
    users_of,
)
from scripts.lib.report.scores import Mark
from scripts.lib.report.steps import STAGES, found, made_of, words_of

MOST_IN_FULL = 12
"""Candidates whose steps are told with keys and settings; of more, only the artifacts are named."""

_PASSED: Mark = {"word": "passed", "sign": "✓", "css": "passed"}
_FAILED: Mark = {"word": "failed", "sign": "✗", "css": "failed"}


class CheckView(TypedDict):
    """One check and what it found."""

    name: str
    verdict: Mark
    evidence: str


class FindingView(TypedDict):
    """All checks of one artifact."""

    who: str
    passed: bool
    verdict: Mark
    words: str
    checks: list[CheckView]


class Part(TypedDict):
    """One of the artifacts of a step."""

    name: str
    key: str
    content: str


class StepView(TypedDict):
    """One step that a candidate was made in."""

    stage: str
    id: str
    parts: list[Part]
    spec: str
    pins: str


class ProvenanceView(TypedDict):
    """One candidate: what it was made of.

    Attributes:
        brief: In place of the steps where candidates are many: stage and artifact.
    """

    name: str
    role: str
    steps: list[StepView]
    brief: list[tuple[str, str]]


def contracts(candidates: Sequence[ReportedCandidate], manifests: Manifests) -> list[FindingView]:
    """Return the checks of each chat template."""
    return _findings(candidates, manifests, stage="shards", fact="contract")


def merge_proofs(
    candidates: Sequence[ReportedCandidate], manifests: Manifests
) -> list[FindingView]:
    """Return the checks of each merged model."""
    return _findings(candidates, manifests, stage="proofs", fact="proof")


def existing(candidates: Sequence[ReportedCandidate], manifests: Manifests) -> list[str]:
    """Say of each candidate that no run made what its files tell."""
    words = []
    for candidate in candidates:
        against = f"{candidate.name}, against {candidate.base}"
        facts = facts_of(manifests, candidate.artifacts.get("changes", ""))
        if "changes" in facts:
            words.append(f"{against}: {_changes_words(facts['changes'])}")
        facts = facts_of(manifests, candidate.artifacts.get("given_adapters", ""))
        if candidate.kind == "adapter" and "adapter" in facts:
            words.append(f"{against}: {_adapter_words(facts['adapter'])}")
    return words


def _adapter_words(adapter: GivenAdapter) -> str:
    whose = {"base": "its base", "adapter": "its own", "config": "the configuration"}
    named = adapter["names_base"]
    told = f"its config names {named} as its base" if named else "its config names no repository"
    words = (
        f"a LoRA adapter of rank {adapter['rank']}, alpha {adapter['alpha']}; tokenizer:"
        f" {whose[adapter['tokenizer']]}, chat template: {whose[adapter['template']]}; {told}."
    )
    if adapter["updates"] and adapter["updates"] == adapter["zero_updates"]:
        words += " All of its updates are zero: it changes nothing."
    return words


def _changes_words(changes: WeightChanges) -> str:
    (base, own), (rows, own_rows) = changes["architecture"], changes["vocabulary"]
    if base != own:
        return f"the architecture {own} instead of {base}, so no weight has its like."
    words = [f"the same architecture ({own})"]
    words += [f"the same vocabulary of {rows:,} rows"] if rows == own_rows else []
    words += [f"{own_rows:,} rows of vocabulary instead of {rows:,}"] if rows != own_rows else []
    if odd := changes["only_in_one"]:
        words.append(f"{len(odd)} tensors that only one has or that differ in shape ({odd[0]} ...)")
    text = ", ".join(words)
    total, changed = changes["weights"], changes["weights_changed"]
    if not total:
        return f"{text}; no weight can be compared."
    if not changed:
        return f"{text}; all of {total:,} weights are those of the base: it is the same model."
    before, after = changes["dtypes"]
    stored = "" if before == after else f" (stored as {after} instead of {before})"
    length = changes["relative_change"]
    by = "and some of either model are no finite numbers"
    if length is not None:
        by = f"by {length:.2%} of their length"
    return (
        f"{text}; {changed / total:.1%} of {total:,} weights differ{stored}, in"
        f" {changes['tensors_changed']:,} of {changes['tensors']:,} tensors, {by}."
    )


def provenance(
    candidates: Sequence[ReportedCandidate], manifests: Manifests
) -> list[ProvenanceView]:
    """Return for each candidate what it was made of, from the source on."""
    brief = len(candidates) > MOST_IN_FULL
    return [
        {
            "name": candidate.name,
            "role": _role(candidate),
            "brief": [
                (STAGES[stage], made[0]["id"] if len(made) == 1 else words_of(made))
                for stage, ids in (made_of(candidate) if brief else ())
                if (made := found(ids, manifests))
            ],
            "steps": [
                {
                    "stage": STAGES[stage],
                    "id": made[0]["id"] if len(made) == 1 else words_of(made),
                    "parts": [
                        {
                            "name": manifest["spec"].get("subject") or "",
                            "key": manifest["key"],
                            "content": manifest["content"],
                        }
                        for manifest in made
                    ],
                    "spec": _spec_words(made),
                    "pins": _pins(made[0]["pins"]),
                }
                for stage, ids in (() if brief else made_of(candidate))
                if (made := found(ids, manifests))
            ],
        }
        for candidate in candidates
    ]


def _spec_words(made: Sequence[Manifest]) -> str:
    """Return the spec of a step as JSON; of several artifacts, without what they differ in."""
    spec = made[0]["spec"].copy()
    if len(made) > 1:
        spec.pop("subject", None)
    return json.dumps(spec, ensure_ascii=False)


def _findings(
    candidates: Sequence[ReportedCandidate],
    manifests: Manifests,
    *,
    stage: str,
    fact: Literal["contract", "proof"],
) -> list[FindingView]:
    views: list[FindingView] = []
    for id_, who in users_of(candidates, stage):
        finding = facts_of(manifests, id_).get(fact)
        if finding is None:
            continue
        checks: list[CheckView] = [
            {
                "name": check["name"].replace("_", " "),
                "verdict": _PASSED if check["passed"] else _FAILED,
                "evidence": check.get("evidence", ""),
            }
            for check in finding["checks"]
        ]
        right = sum(check["passed"] for check in finding["checks"])
        views.append(
            {
                "who": who,
                "passed": finding["passed"],
                "verdict": _PASSED if finding["passed"] else _FAILED,
                "words": f"{right} of {len(checks)} checks",
                "checks": checks,
            }
        )
    return views


def _role(candidate: ReportedCandidate) -> str:
    if candidate.kind == "base":
        return "base"
    if candidate.kind == "checkpoint":
        return f"checkpoint against {candidate.base}"
    return f"{candidate.kind} on {candidate.base}{', unmerged' if candidate.unmerged else ''}"


def _pins(pins: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in pins.items()) or "none decides"

"""Which steps candidates were made in, with the manifests of what each step made."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

from scripts.lib.report.manifests import Manifest, Manifests, ReportedCandidate

STAGES = {
    "models": "Fetch model",
    "raw": "Fetch dataset",
    "benchmarks": "Fetch benchmark",
    "chat": "Format",
    "decontaminated": "Drop contaminated",
    "shards": "Render",
    "given_adapters": "Fetch adapter",
    "adapters": "Train",
    "trained": "Train",
    "combined": "Combine",
    "merged": "Merge",
    "proofs": "Prove",
    "changes": "Compare weights",
    "scores": "Score",
    "judgements": "Judge",
    "remote_judgements": "Judge",
}
"""Stage -> what a step of it is called, in the order of the pipeline."""


def made_of(candidate: ReportedCandidate) -> list[tuple[str, tuple[str, ...]]]:
    """Return each step that a candidate was made in: its stage, and the artifacts that it made."""
    own: list[tuple[str, tuple[str, ...]]] = [
        (stage, (id_,)) for stage in STAGES for id_ in candidate.made_in(stage)
    ]
    own += [("scores", tuple(ids)) for ids in candidate.scores.values()]
    return own + [(id_.partition("/")[0], (id_,)) for id_ in candidate.judgements.values()]


def found(ids: Sequence[str], manifests: Manifests) -> list[Manifest]:
    """Return the manifests of those artifacts that have one here."""
    return [manifests[id_] for id_ in ids if id_ in manifests]


def steps_of(
    candidates: Sequence[ReportedCandidate], manifests: Manifests
) -> Iterator[tuple[str, list[Manifest]]]:
    """Yield each step with the manifests of what it made, each of these once."""
    steps = {step for candidate in candidates for step in made_of(candidate)}
    order, seen = list(STAGES), set[str]()
    for stage, ids in sorted(steps, key=lambda step: (order.index(step[0]), step[1])):
        new = [id_ for id_ in ids if id_ not in seen]
        seen.update(new)
        if made := found(new, manifests):
            yield stage, made


def words_of(made: Sequence[Manifest]) -> str:
    """Return the words for artifacts that are one step: what their slugs have in common."""
    if len(made) == 1:
        return str(made[0]["slug"])
    places = zip(*(manifest["slug"].split("-") for manifest in made), strict=False)
    shared = [words[0] for words in takewhile(lambda words: len(set(words)) == 1, places)]
    return f"{'-'.join(shared)} ({len(made)} subjects)"

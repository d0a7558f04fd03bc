"""Which missing artifacts one job makes together: scores by subject, as a model loads for long.

A batch is execution. It has no key: its name is made of the keys of what it is to make, so that a
batch that was killed, and of which a part is there, is another one when it is planned again.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scripts.lib.artifacts.graph import Artifact, Graph, slugify
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.canonical import canonical_json, digest

BATCHES = "batches"
"""Folder under results/ of the tokens that say that a batch is done."""


@dataclass(frozen=True)
class Batching:
    """How many jobs the missing subjects of one candidate and benchmark are shared out to.

    Attributes:
        subjects_per_job: A job gets no more, so that several can go on at once...
        jobs_per_benchmark: ...but for this limit, so that starting costs little.
    """

    subjects_per_job: int = 12
    jobs_per_benchmark: int = 4

    def __post_init__(self) -> None:
        """Refuse numbers that leave something unmade.

        Raises:
            ValueError: One is below 1.
        """
        if min(self.subjects_per_job, self.jobs_per_benchmark) < 1:
            raise ValueError("subjects_per_job and jobs_per_benchmark are at least 1")


DEFAULT = Batching()


def batches_of(graph: Graph, ids: Iterable[str], batching: Batching) -> dict[str, tuple[str, ...]]:
    """Return the batches of those artifacts that are made in batches: name -> ids.

    Args:
        graph: Holds the artifacts.
        ids: What is to be made.
        batching: How large batches are.
    """
    groups: dict[str, list[str]] = {}
    for id in ids:
        artifact = graph.artifacts[id]
        if STAGES[artifact.stage].batched_by:
            groups.setdefault(_alike(artifact), []).append(id)
    batches = {}
    for group in groups.values():
        wanted = math.ceil(len(group) / batching.subjects_per_job)
        jobs = min(wanted, batching.jobs_per_benchmark)
        # Every so many-th, so that the long subjects of an alphabet do not meet in one job.
        for part in (group[start::jobs] for start in range(jobs)):
            batches[_name(graph, part)] = tuple(part)
    return batches


def _alike(artifact: Artifact) -> str:
    """Return what is the same for all artifacts that one job can make."""
    spec = {k: v for k, v in artifact.spec.items() if k != STAGES[artifact.stage].batched_by}
    return canonical_json([artifact.stage, artifact.reads, spec])


def _name(graph: Graph, ids: list[str]) -> str:
    """Return the name of a batch: words of its first artifact, and the hash of all keys."""
    first = graph.artifacts[ids[0]]
    own = first.spec[STAGES[first.stage].batched_by or ""]
    words = first.slug.removesuffix(f"-{slugify(own)}") if own else first.slug
    return f"{BATCHES}/{words}-{digest([graph.artifacts[id].key for id in ids])}"

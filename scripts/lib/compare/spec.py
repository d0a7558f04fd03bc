"""What is compared: the candidates, the benchmarks, where their results are, what those are of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict


@dataclass(frozen=True, kw_only=True)
class ComparedCandidate:
    """A base model or what was made of one, and where its scores are.

    Attributes:
        name: Its name in the config.
        kind: `base`, `run`, `combination` of adapters, or a `checkpoint` or an `adapter` that was
            there already.
        base: Name of the candidate that it is compared with, or None.
        unmerged: Whether model and adapter were scored side by side.
        scores: Artifact ids of the scoring jobs, per benchmark; their manifests say of judged pairs
            what the base answered with.
        categories: Artifact id of the category scores, per benchmark.
        judgements: Artifact id of the judgements beside its base, per benchmark.
        group: Name for the runs that differ from it in their seed alone, or None.
        trained_on: Artifact id of the conversations that a run was trained on, of several datasets
            all of them with what was taken of each, or None.
        searches: Benchmark -> artifact ids of the searches for its questions in all that a
            candidate was trained on; none where those are its own held-out rows.
        data_known: Whether that is all that it was trained on since its base.
    """

    name: str
    kind: Literal["base", "run", "combination", "checkpoint", "adapter"]
    base: str | None
    unmerged: bool
    scores: Mapping[str, tuple[str, ...]]
    categories: Mapping[str, str]
    judgements: Mapping[str, str]
    group: str | None = None
    trained_on: str | None = None
    searches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    data_known: bool = True

    @property
    def brings_template(self) -> bool:
        """Whether it came with a chat template, which may not be that of its base."""
        return self.kind in ("checkpoint", "adapter")


class ManifestFile(TypedDict):
    """A file of an artifact, as its manifest lists it."""

    path: str
    bytes: int
    sha256: str


class ManifestInput(TypedDict):
    """An artifact that another was made from, and the hash of the bytes that it then had."""

    id: str
    content: str


class JoinedManifest(TypedDict):
    """What of a manifest says how it joins others: its content, its files, and its inputs."""

    content: str
    files: list[ManifestFile]
    inputs: dict[str, list[ManifestInput]]


@dataclass(frozen=True, kw_only=True)
class CompareSpec:
    """What decides the bytes of a comparison.

    Attributes:
        candidates: All of them, in the order of the config.
        benchmarks: Benchmark names, in the order of the tables.
        held_out: Names of the benchmarks on held-out conversations, which have tables of their own.
        judged: Names of the benchmarks of judged pairs, which have a section of their own.
        noise_nats: Precision -> standard deviation (nats) of what another scoring adds to a margin
            between two choices, where it is not as measured here.
        budget: Benchmark -> measure -> margin, in the unit of its differences; empty without one.
        on_undecided: What becomes of a workflow whose budget is undecided.
        texts: Whether examples may quote rows, prompts and answers.
    """

    candidates: tuple[ComparedCandidate, ...]
    benchmarks: tuple[str, ...]
    held_out: tuple[str, ...]
    judged: tuple[str, ...]
    noise_nats: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    on_undecided: Literal["fail", "pass"] = "fail"
    texts: bool = True

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "CompareSpec":
        """Build the spec from parsed JSON, where tuples are lists."""
        candidates = tuple(
            ComparedCandidate(
                name=item["name"],
                kind=item["kind"],
                base=item["base"],
                unmerged=item["unmerged"],
                scores={benchmark: tuple(ids) for benchmark, ids in item["scores"].items()},
                categories=item["categories"],
                judgements=item["judgements"],
                group=item.get("group"),
                trained_on=item.get("trained_on"),
                searches={name: tuple(ids) for name, ids in item.get("searches", {}).items()},
                data_known=item.get("data_known", True),
            )
            for item in mapping["candidates"]
        )
        return cls(
            candidates=candidates,
            benchmarks=tuple(mapping["benchmarks"]),
            held_out=tuple(mapping["held_out"]),
            judged=tuple(mapping["judged"]),
            noise_nats=mapping.get("noise_nats", {}),
            budget=mapping.get("budget", {}),
            on_undecided=mapping.get("on_undecided", "fail"),
            texts=mapping.get("texts", True),
        )


def beside_base(candidates: Sequence[ComparedCandidate]) -> list[ComparedCandidate]:
    """Order candidates for tables: each base followed by its runs."""
    names = [candidate.name for candidate in candidates]

    def place(candidate: ComparedCandidate) -> tuple[int, bool, int]:
        own = names.index(candidate.name)
        home = names.index(candidate.base) if candidate.base in names else own
        return home, home != own, own

    return sorted(candidates, key=place)

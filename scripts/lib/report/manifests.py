"""What the report reads: candidates with their artifacts, and the manifests of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

from scripts.lib.report.charts import TrainingEvent
from scripts.lib.train.mixture_document import Given

MOST_NAMED = 8
"""Candidates that are named where many share an artifact."""


@dataclass(frozen=True, kw_only=True)
class ReportedCandidate:
    """A base model or what was made of one, with the artifacts that its evidence is taken from.

    Attributes:
        name: Its name in the config.
        kind: `base`, `run`, `combination` of adapters, or a `checkpoint` or an `adapter` that was
            there already.
        base: Name of the candidate that it is compared with, or None.
        unmerged: Whether model and adapter were scored side by side.
        artifacts: Stage -> artifact id.
        datasets: Of a run on several datasets what was made of each, in the order in which training
            read them: its `name`, and stage -> artifact id, which `artifacts` then lacks.
        scores: Benchmark -> artifact ids of its scoring jobs.
        judgements: Benchmark -> artifact id of the judgements beside its base.
        categories: Benchmark -> artifact id of its category scores, of those whose questions are
            right or wrong.
        searches: Benchmark -> artifact ids of the searches for its questions in all that it was
            trained on.
    """

    name: str
    kind: Literal["base", "run", "combination", "checkpoint", "adapter"]
    base: str | None
    unmerged: bool
    artifacts: Mapping[str, str]
    scores: Mapping[str, tuple[str, ...]]
    judgements: Mapping[str, str]
    datasets: Sequence[Mapping[str, str]] = ()
    categories: Mapping[str, str] = field(default_factory=dict)
    searches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def made_in(self, stage: str) -> tuple[str, ...]:
        """Return the artifacts of a stage: one, none, or one for each dataset."""
        if stage in self.artifacts:
            return (self.artifacts[stage],)
        return tuple(one[stage] for one in self.datasets if stage in one)


class TrainingVerdict(TypedDict):
    """How a training went, read from its losses."""

    verdict: str
    evidence: str
    remedy: str


class TrainingAnswer(TypedDict):
    """What a model in training answered to a held-out row."""

    step: int
    row: str
    prompt: str
    reference: str
    answer: str
    ended: bool
    faults: list[str]


class RowSummary(TypedDict):
    """What became of a dataset's rows."""

    rows: int
    kept: int
    fixed: int
    dropped: int
    splits: dict[str, int]
    by_reason: dict[str, int]
    by_name: NotRequired[dict[str, dict[str, int]]]
    notes: NotRequired[dict[str, str]]
    ignored_keys: NotRequired[dict[str, int]]


class SplitTokens(TypedDict):
    """Tokens of the rows of a split, and those that the loss looks at."""

    tokens: int
    trained_tokens: int


class TokenSummary(TypedDict):
    """What became of a dataset's conversations in a chat template."""

    conversations: int
    kept: int
    rows: int
    turn_by_turn: int
    growth: float
    truncated: int
    dropped: dict[str, int]
    rows_dropped: dict[str, int]
    splits: dict[str, SplitTokens]
    template_arguments: NotRequired[dict[str, int]]


class Check(TypedDict):
    """One check of a contract or a proof, and what it found."""

    name: str
    passed: bool
    evidence: NotRequired[str]


class Finding(TypedDict):
    """All checks of a chat template (a contract) or of a merged model (a proof)."""

    passed: bool
    checks: list[Check]


class WeightChanges(TypedDict):
    """What tells a checkpoint from its base."""

    architecture: list[str]
    vocabulary: list[int]
    dtypes: list[str]
    tensors: int
    tensors_changed: int
    only_in_one: list[str]
    weights: int
    weights_changed: int
    relative_change: float | None


class GivenAdapter(TypedDict):
    """What is known of an adapter that no run trained."""

    rank: int
    alpha: float
    names_base: str | None
    tokenizer: str
    template: str
    updates: int
    zero_updates: int


class LoraSpec(TypedDict):
    """The adapter's settings that are shown."""

    r: int
    alpha: int
    dropout: float


class Facts(TypedDict, total=False):
    """What stages say of their work: each has its own keys, and most have none of these."""

    # train_adapter
    history: list[TrainingEvent]
    verdict: TrainingVerdict
    answers: list[TrainingAnswer]
    trainable_parameters: int
    untrained_experts: int
    steps: int
    kept_step: int
    train_rows: int
    trained_tokens: int
    arithmetic: str
    mixture: list[Given]
    # train_model
    saved_dtype: str
    lora: LoraSpec  # of an adapter that went on from another
    # format_chat
    summary: RowSummary
    # render_shards
    tokens: TokenSummary
    contract: Finding
    # prove_merge
    proof: Finding
    # fetch_adapter
    adapter: GivenAdapter
    # compare_weights
    changes: WeightChanges


class TrainingSpec(TypedDict):
    """The training's settings that are shown."""

    learning_rate: float
    scheduler: str
    batch_size: int
    seed: int
    dtype: str


class Spec(TypedDict, total=False):
    """What an artifact was asked to be; the page shows it whole, and looks at these keys."""

    # score_benchmark
    subject: str | None
    # train_adapter
    lora: LoraSpec
    training: TrainingSpec


class Execution(TypedDict):
    """What making an artifact took."""

    seconds: float
    peak_gib: float
    device: NotRequired[str]
    gpus: NotRequired[int]  # manifests of before do not say
    plan: NotRequired[str]


class Manifest(TypedDict):
    """What is read of an artifact's manifest."""

    id: str
    slug: str
    key: str
    content: str
    spec: Spec
    facts: Facts
    pins: dict[str, str]
    execution: Execution


Manifests = Mapping[str, Manifest]
"""Id of an artifact -> its manifest."""


def facts_of(manifests: Manifests, id_: str) -> Facts:
    """Return what a stage says of its work; nothing where its manifest is not there."""
    return manifests[id_]["facts"] if id_ in manifests else {}


def users_of(candidates: Sequence[ReportedCandidate], stage: str) -> list[tuple[str, str]]:
    """Return each artifact of a stage with the names of the candidates that share it."""
    users: dict[str, list[str]] = {}
    for candidate in candidates:
        for id_ in candidate.made_in(stage):
            users.setdefault(id_, []).append(candidate.name)
    return [(id_, _some(names)) for id_, names in users.items()]


def _some(names: Sequence[str]) -> str:
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMED - 1])} and {len(names) - MOST_NAMED + 1:,} more"

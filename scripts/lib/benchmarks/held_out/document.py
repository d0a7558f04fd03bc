"""What files say of held-out conversations: of one candidate, and of all side by side."""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from scripts.lib.score.documents import (
    ChangeVerdict,
    Note,
    OwnProtocol,
    ScoreProtocol,
    Thoughts,
)
from scripts.lib.score.paired_documents import DecidedDifference, Family

Adherence = Literal["stops", "format", "language"]
"""A way in which an answer can keep to what it was tuned for."""

ADHERENCE: tuple[Adherence, ...] = ("stops", "format", "language")
"""In the order of tables."""


class Kept(TypedDict):
    """One held-out conversation: the loss of its answer, and how the model's own answer fares."""

    question_id: str
    """Names the conversation."""
    prompt_hash: str
    """Hash of the prompt's text."""
    token_hash: str
    """Hash of the prompt's tokens."""
    nats: float
    """Loss of the reference answer over `tokens`."""
    tokens: int
    """Tokens of the reference answer and the end of its turn."""
    bytes: int
    """Length of the reference answer alone, in UTF-8."""
    stops: float
    """1 where the model's answer ends by itself, else 0."""
    format: float
    """1 where it has the form that all references share, else 0."""
    language: float | None
    """1 where it is in the language of its reference, else 0; null where that has no letter."""
    wrong: list[str]
    """What it does not keep to, in words."""
    answer: str
    """The reference answer."""
    response: str
    """The model's answer."""


def values_of(kept: Sequence[Kept], name: Adherence) -> list[float]:
    """Return one way of adherence, question by question, where it can be told."""
    return [value for one in kept if (value := one[name]) is not None]


class Rate(TypedDict):
    """How many answers keep to something."""

    n: int
    """Answers of which it can be told."""
    rate: float
    """The fraction that does, from 0 to 1."""
    stderr: float | None
    """Standard error of `rate`, from 0 to 1; null below two answers."""


class AdherenceRates(TypedDict):
    """How many of the model's own answers keep to the domain; null where it can be told of none."""

    stops: Rate | None
    """End by themselves."""
    format: Rate | None
    """Have the form that all reference answers share."""
    language: Rate | None
    """Are in the language of their references."""


class HeldOutResult(TypedDict):
    """What one candidate got on held-out conversations."""

    n: int
    """Number of conversations."""
    tokens: int
    """Tokens of all reference answers, the ends of their turns included."""
    bytes: int
    """Bytes of all reference answers in UTF-8."""
    loss: float
    """Mean loss of the reference answers, in nats per token."""
    perplexity: float
    """exp of `loss`, per token."""
    bits_per_byte: float
    """The same loss in bits, over the bytes of the answers."""
    adherence: AdherenceRates
    """How the model's own answers keep to the domain."""


class HeldOutScoreFile(HeldOutResult):
    """`{benchmark}.held_out.json`: one candidate, and how it was asked."""

    benchmark: str
    """Name of the benchmark."""
    split: str
    """Which split was asked: `test` or `valid`."""
    forms: list[str]
    """The forms that all reference answers share, in words."""
    references_over_limit: int
    """Reference answers that are longer than `max_new_tokens`."""
    protocol: OwnProtocol
    """How the conversations were asked."""
    prompt_set: str
    """sha256 of all that was asked."""
    made_of: dict[str, str]
    """Input -> hash of its content."""
    versions: dict[str, str]
    """Library -> version."""


class LossDifference(TypedDict):
    """How the loss on reference answers changed."""

    difference: float
    """Run minus base, in nats per token: below 0 is better."""
    stderr: float | None
    """Standard error of `difference`, in nats per token; null below two conversations."""
    improved: int
    """Conversations whose loss fell."""
    worsened: int
    """Conversations whose loss rose."""
    n: int
    """Number of conversations."""
    p_value: float
    """Two-sided, of `test`."""
    test: Literal["McNemar", "sign flips"]
    """Name of the test."""
    interval: list[float] | None
    """Low and high end of the 95 % interval of `difference` (Student's t over conversations); null
    where that has no spread."""
    detectable: float | None
    """The difference, of either sign, that a test of these conversations shows in 80 % of the
    cases; null where they have no spread."""
    family: Family
    """`primary`: the loss is decided alone, named in advance."""
    p_corrected: float
    """The same as `p_value`."""
    verdict: ChangeVerdict
    """Whether the difference is decided: `p_corrected` is below 0.05."""


class HeldOutDifference(TypedDict):
    """How far a candidate is from its base on the same conversations."""

    base: str
    """Name of the candidate that it is compared with."""
    loss: LossDifference
    """Of the loss on reference answers."""
    stops: DecidedDifference | None
    """Of the rate of answers that end by themselves; null where it can be told of none."""
    format: DecidedDifference | None
    """Of the rate of answers that have the form of the references."""
    language: DecidedDifference | None
    """Of the rate of answers in the language of their references."""


class HeldOutSection(TypedDict):
    """What all candidates got on held-out conversations, beside their bases."""

    protocol: ScoreProtocol
    """How they were asked."""
    split: str
    """Which split was asked: `test` or `valid`."""
    forms: list[str]
    """The forms that all reference answers share, in words."""
    candidates: dict[str, HeldOutResult]
    """Candidate -> its results."""
    differences: dict[str, HeldOutDifference]
    """Candidate that has a base -> its differences."""
    notes: list[Note]
    """What is to be known before the numbers are read."""
    thoughts: NotRequired[dict[str, Thoughts]]
    """Candidate -> what became of the thoughts in its answers; only of those that think."""

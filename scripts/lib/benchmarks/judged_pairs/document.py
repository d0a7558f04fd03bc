"""What files say of judged pairs: of one tuned model, and of all side by side."""

from typing import Literal, NotRequired, TypedDict, cast

from scripts.lib.score.documents import ChangeVerdict, Note, ScoreProtocol, Thoughts
from scripts.lib.score.paired_documents import Family


class JudgeStated(TypedDict, total=False):
    """Who judged and how it was asked; empty where nobody was judged."""

    kind: Literal["local", "endpoint"]
    """A model that is run here, or a service."""
    model: str
    """Its name."""
    criteria: str | None
    """What the judge was told to look at; null for the usual words."""
    dtype: str
    """Precision of a local judge's weights and arithmetic."""
    content: str
    """sha256 of a local judge's files."""
    endpoint: str
    """Address of a service."""
    parameters: dict[str, float]
    """Parameter of the requests to a service -> its value."""


class OwnJudge(JudgeStated, total=False):
    """The judge of one candidate, with what it refused there."""

    refused: dict[str, int]
    """Parameter that a service was asked without -> number of its replies."""


class Unasked(TypedDict):
    """Nothing: no answers were judged."""


class Proportion(TypedDict):
    """A rate with its uncertainty."""

    rate: float | None
    """From 0 to 1; null where there was nothing to count."""
    interval: list[float] | None
    """Low and high end of its 95 % interval, from 0 to 1."""
    prompts: int
    """Prompts that it was counted over."""


class WinRate(TypedDict):
    """How often the tuned model was preferred."""

    win_rate: float | None
    """Wins, and ties counted half, from 0 to 1; null without prompts."""
    interval: list[float] | None
    """Low and high end of its 95 % interval (Tango's score interval), from 0 to 1."""


class PairFigures(WinRate):
    """What the verdicts on some prompts add up to."""

    n: int
    """Number of prompts."""
    wins: int
    """Prompts where the tuned model's answer was preferred."""
    losses: int
    """Prompts where its base's answer was preferred."""
    ties: int
    """All others."""
    equal: int
    """Ties that no judge was asked about: the two answers are the same."""
    p_value: float
    """Of the exact two-sided sign test of wins against losses."""
    family: Family
    """What it is decided together with: nothing (`primary`: all prompts), or the other
    `categories`."""
    p_corrected: float
    """The p-value after Holm's correction within its family."""
    verdict: ChangeVerdict
    """Whether there is a decided preference: `p_corrected` is below 0.05."""
    detectable: float | None
    """How far from 50 %, in percentage points, the win rate must be for a test of these prompts to
    show it in 80 % of the cases; null where they are too few to show any."""
    readings: int
    """Replies of the judge: two for each prompt that it was asked about."""
    unreadable: int
    """Replies that hold no verdict."""
    first_place: Proportion
    """How often the judge preferred the answer that stood first."""
    consistency: Proportion
    """How often both orders of the answers gave the same verdict."""


class Figures(PairFigures):
    """The figures of all prompts, and of each category."""

    categories: dict[str, PairFigures]
    """Category -> figures of its prompts."""


class CutAnswers(TypedDict):
    """Answers that did not end within `max_new_tokens`."""

    base: int
    """Of the base."""
    run: int
    """Of the tuned model."""


class SplitMarkers(TypedDict):
    """Control token that a tokenizer reads as several -> number of these."""

    base: dict[str, int]
    """As the base reads."""
    run: dict[str, int]
    """As the tuned model reads."""


class ThoughtsOfPair(TypedDict):
    """What became of the thoughts in both models' answers; null where one had none."""

    base: Thoughts | None
    """Of the base."""
    run: Thoughts | None
    """Of the tuned model."""


class JudgedScoreFile(Figures):
    """`{benchmark}.judged.json`: one tuned model beside its base."""

    benchmark: str
    """Name of the benchmark."""
    judge: OwnJudge
    """Who judged."""
    answers: ScoreProtocol
    """How the answers were made."""
    split: str | None
    """Held-out split that was answered; null for prompts from a file."""
    other_tokens: int
    """Prompts that the two read as different tokens."""
    split_markers: SplitMarkers
    """What the two read as ordinary characters."""
    cut: CutAnswers
    """Answers that were cut."""
    thoughts: ThoughtsOfPair | None
    """What became of the thoughts in the answers; null where there were none."""


class Example(TypedDict):
    """One judged prompt, for people to look at."""

    prompt_id: str
    """Names the prompt."""
    decision: Literal["win", "loss", "tie"]
    """Of the tuned model."""
    request: str
    """The prompt."""
    base: str
    """The base's answer."""
    run: str
    """The tuned model's answer."""
    base_first: Literal["A", "B", "C"] | None
    """Verdict where the base's answer stood first: the first, the second, neither; null where none
    can be read."""
    run_first: Literal["A", "B", "C"] | None
    """Verdict where the tuned model's answer stood first."""


class JudgedResult(Figures):
    """What the judge made of one tuned model's answers beside its base's."""

    base: str
    """Name of the base."""
    cut: CutAnswers
    """Answers that were cut."""
    thoughts: NotRequired[ThoughtsOfPair]
    """What became of the thoughts in the answers; only where any thinks."""
    refused: dict[str, int]
    """Parameter that a service was asked without -> number of its replies."""
    notes: list[Note]
    """What is to be known before the numbers are read."""
    examples: list[Example]
    """The first prompts of each decision."""


class JudgedSection(TypedDict):
    """What a judge made of all tuned models' answers beside their bases'."""

    judge: JudgeStated
    """Who judged; empty without candidates."""
    answers: ScoreProtocol | Unasked
    """How the answers were made; empty without candidates."""
    split: str | None
    """Held-out split that was answered; null for prompts from a file."""
    candidates: dict[str, JudgedResult]
    """Tuned model -> its results."""


def answers_of(section: JudgedSection) -> ScoreProtocol:
    """Return how the answers of a section with candidates were made."""
    return cast(ScoreProtocol, section["answers"])

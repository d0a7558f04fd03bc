"""`comparison.json`: what it holds, and which kind of benchmark has which section of it."""

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Literal, NotRequired, TypedDict

from scripts.lib.benchmarks.kinds import load
from scripts.lib.contamination.document import FoundQuestion
from scripts.lib.score.documents import (
    ChangeVerdict,
    Note,
    ScoreProtocol,
    Tally,
    Thoughts,
)
from scripts.lib.score.paired_documents import DecidedDifference, Family

SECTIONS: Mapping[Literal["held_out", "judged"], str] = {
    "held_out": "held_out",
    "judged": "judged_pairs",
}
"""Section of a comparison, in their order -> the kind that it is about."""

Section = Mapping[str, object]
"""What is said of one benchmark of a kind with a section; its type lies with the kind."""


class NumericNoise(TypedDict):
    """What another scoring of the same two models would do to their difference.

    In other batches or on another device sums are rounded otherwise.
    """

    nats: float
    """Standard deviation of what another scoring adds to a margin between two choices."""
    turning: float
    """How many answers of both together turn right or wrong in another scoring, on average."""
    points: float
    """Standard deviation of `difference` over such scorings, in percentage points."""
    sign_lost: float
    """Probability that another scoring shows no difference, or one of the other sign."""
    within: bool
    """Whether there is a difference and `sign_lost` is 0.05 or more: it may be rounding alone."""


class Difference(DecidedDifference):
    """How far a candidate is from its base on the same questions."""

    base: str
    """Name of the candidate that it is compared with."""
    noise: NumericNoise | None
    """What rounding does to the difference; null where answers are no letters that were weighed."""


class BenchmarkResult(TypedDict):
    """What all candidates got on one benchmark, beside their bases."""

    protocol: ScoreProtocol
    """How it was asked; `fewer_shots` is the most of any candidate."""
    category_map: str
    """How subjects are put into categories: `hendrycks`, `lm-eval`, `cmmlu`, `ceval`, `column`,
    `tasks` or `none`."""
    categories: list[str]
    """Names of the categories in the order of tables, Average first."""
    candidates: dict[str, dict[str, Tally]]
    """Candidate -> category -> score."""
    differences: dict[str, dict[str, Difference]]
    """Candidate that has a base -> category -> difference from it; the average is over questions
    (a micro average)."""
    subjects: dict[str, dict[str, Tally]]
    """Candidate -> subject -> score; empty where there is one subject, or each is a category."""
    subject_differences: dict[str, dict[str, Difference]]
    """Candidate that has a base -> subject -> difference from it; empty where `subjects` is."""
    macro_averages: dict[str, float]
    """Candidate -> mean of the accuracies of its subjects, each counted alike, from 0 to 1; empty
    where there is one subject."""
    notes: list[Note]
    """What is to be known before the numbers are read."""
    thoughts: NotRequired[dict[str, Thoughts]]
    """Candidate -> what became of the thoughts in its answers; only of those that think."""


class ListedCandidate(TypedDict):
    """Who is compared."""

    name: str
    """Its name in the configuration."""
    kind: Literal["base", "run", "combination", "checkpoint", "adapter"]
    """A model as it was found, one that was fine-tuned, a combination of such, or a checkpoint or
    an adapter that was finished elsewhere."""
    base: str | None
    """Name of the candidate that it is compared with."""
    unmerged: bool
    """Whether model and adapter were scored side by side."""
    group: str | None
    """Name for the runs that differ from it in their seed alone; null where it stands alone."""


class SeedGroup(TypedDict):
    """Runs that differ in their seed alone."""

    base: str
    """Name of the candidate that they are compared with."""
    members: list[str]
    """Their names, in the order of the configuration."""


class SeedEffect(TypedDict):
    """How runs that differ in their seed alone differ from their base, on the same questions."""

    unit: Literal["points", "nats"]
    """Of all that follows: percentage points, or nats per token, where below 0 is better."""
    difference: float
    """Mean over seeds and questions of run minus base; for judged pairs win rate minus 50."""
    interval: list[float] | None
    """Low and high end of the interval of `difference`, which has at least 95 % and counts both
    other questions and other seeds; null where the questions show no spread."""
    p_value: float
    """The level at which the interval would end at 0; where there is none, of the sign test."""
    family: Family
    """`primary` for the average or what is measured first, decided alone; else `categories`."""
    p_corrected: float
    """The p-value after Holm's correction within its family."""
    verdict: ChangeVerdict
    """`better` or `worse` where `p_corrected` is below 0.05."""
    seeds: int
    """Number of runs."""
    seed_sd: float
    """Spread between seeds: the sample's standard deviation of the runs' differences."""
    seed_range: list[float]
    """Lowest and highest difference of a run."""
    question_stderr: float | None
    """Spread over questions: the standard error of `difference` over questions, each counted with
    its mean over seeds; null below two questions."""
    n: int
    """Number of questions."""


class SeedPair(TypedDict):
    """How two runs, or groups of runs, differ beside what another seed gives."""

    one: str
    """Name of a group, or of a run without seeds."""
    other: str
    """Name of another one on the same base and data."""
    unit: Literal["points", "nats"]
    """As in SeedEffect."""
    difference: float
    """The first minus the second, of the means over seeds."""
    interval: list[float] | None
    """Low and high end of the interval of `difference`, as in SeedEffect."""
    seed_sd: float
    """Spread between seeds, pooled over the groups in `spread_of`."""
    spread_of: list[str]
    """Groups that the spread is taken from: those compared, else all on the same base and data."""
    limit: float
    """Least difference, of either sign, that other seeds alone give in 5 % of the cases."""
    within_seeds: bool
    """Whether `difference` is no larger than `limit`: another seed might have turned it."""


class SeedResult(TypedDict):
    """What several seeds tell on one benchmark."""

    effects: dict[str, dict[str, SeedEffect]]
    """Group -> category or measure -> mean difference from the base."""
    pairs: list[SeedPair]
    """Two by two, by the average: all groups, and runs without seeds on the base and data of one;
    empty where there are more than 16 of these."""


BudgetVerdict = Literal["pass", "fail", "undecided"]
"""Whether a margin is kept."""


class BudgetLine(TypedDict):
    """A tuned candidate held against one margin."""

    benchmark: str
    """Name of the benchmark."""
    candidate: str
    """Name of the candidate, or for all runs that differ in their seed alone."""
    measure: str
    """`average`, a category, a subject, `perplexity` or another measure, as the budget names it."""
    margin: float
    """The least difference that is accepted, in `unit`; the largest where that is nats."""
    unit: Literal["points", "nats"]
    """Percentage points, or nats per token, where below 0 is better."""
    difference: float | None
    """Candidate minus base; null where this was not measured."""
    interval: list[float] | None
    """Low and high end of its 95 % interval; null where there is none."""
    verdict: BudgetVerdict
    """`pass` where the whole interval is on the good side of the margin, `fail` where it is on the
    bad side, or the measure is not there, else `undecided`."""
    reason: str | None
    """Why there is no interval; null where there is one."""


class Budget(TypedDict):
    """What the configuration allows every tuned candidate to lose, and whether it is kept."""

    verdict: BudgetVerdict
    """`fail` where any line does, else `undecided` where any line is, else `pass`."""
    on_undecided: Literal["fail", "pass"]
    """Whether the workflow fails where the budget is undecided."""
    lines: list[BudgetLine]
    """Every tuned candidate held against every margin, by benchmark."""


class Untouched(TypedDict):
    """Scores on the questions that do not stand in what a candidate was trained on."""

    base: Tally
    """The base's score."""
    run: Tally
    """The candidate's score."""
    difference: Difference
    """How far they are apart, by the same test as all questions; its `noise` is null."""


class UntouchedMeasure(TypedDict):
    """What is measured of conversations or judged pairs that stand in no training row."""

    measure: Literal["loss", "win_rate"]
    """The loss of reference answers, or how often the candidate is preferred to its base."""
    unit: Literal["nats", "points"]
    """Nats per token, where below 0 is better, or percentage points."""
    n: int
    """Conversations or prompts that were not found."""
    base: float
    """The base's loss, in nats per token; of a win rate 50, in percent."""
    run: float
    """The candidate's loss, in nats per token, or its win rate, in percent."""
    difference: float
    """Candidate minus base, in `unit`."""
    interval: list[float] | None
    """Low and high end of its 95 % interval; null where there is none."""
    everywhere: float
    """The difference on all of them, those found as well, in `unit`."""
    p_value: float
    """Of the same test as for all of them."""
    verdict: ChangeVerdict
    """What that test says."""


class Contaminated(TypedDict):
    """What of a benchmark stands in the rows that a candidate was trained on."""

    known: bool
    """Whether all that it was trained on since its base is at hand, to be searched."""
    searched: int
    """Datasets that were searched; 0 where none is known, or where the benchmark asks what the
    only one holds out."""
    questions: int
    """Questions that were asked."""
    found: int
    """Of them, those that stand in a training conversation."""
    exact: int
    """Of those, how many stand there with all their words in a row."""
    conversations: int
    """Training conversations that hold a question of the benchmark."""
    untouched: Untouched | None
    """Scores on the others, on average; null where nothing was found, nothing is left, or answers
    are not right or wrong."""
    untouched_measure: UntouchedMeasure | None
    """The same of held-out conversations and judged pairs; null with every other benchmark."""
    examples: list[FoundQuestion]
    """A few of those that were found, the surest first."""


class Contamination(TypedDict):
    """Questions of benchmarks that stand in training rows."""

    method: str | None
    """When a question counts as found; null where nothing was searched."""
    candidates: dict[str, dict[str, Contaminated]]
    """Candidate that has a base -> benchmark -> what was found."""


class Comparison(TypedDict):
    """The whole file."""

    benchmarks: dict[str, BenchmarkResult]
    """Benchmark with questions that are right or wrong -> its results."""
    held_out: dict[str, Section]
    """Benchmark on held-out conversations -> its results."""
    judged: dict[str, Section]
    """Benchmark of judged pairs -> its results."""
    contamination: Contamination
    """What of the benchmarks stands in what candidates were trained on."""
    candidates: list[ListedCandidate]
    """All candidates in the order of tables: each base followed by its runs."""
    groups: dict[str, SeedGroup]
    """Name for runs that differ in their seed alone -> these."""
    seeds: dict[str, SeedResult]
    """Benchmark -> what several seeds tell; empty without groups."""
    budget: Budget | None
    """What may be lost and whether it is kept; null where the configuration has no budget."""


def parts_of(rule: str, found: Mapping[str, Collection[object]]) -> dict[str, ModuleType]:
    """Return section -> its kind's module for a rule, of each section that holds a benchmark.

    Args:
        rule: Whose program asks.
        found: Section -> its benchmarks.
    """
    return {section: load(rule, kind) for section, kind in SECTIONS.items() if found[section]}


def sections(document: Comparison) -> dict[str, Mapping[str, Section]]:
    """Return the sections of a comparison that one kind has to itself, in their order."""
    return {section: document[section] for section in SECTIONS}

"""What JSON files of scores hold, for who sums scores up, compares runs and reports.

Apart, so that who reads a score imports nothing that counts one.
"""

from typing import Literal, NotRequired, TypedDict, final


class BadRows(TypedDict, total=False):
    """Rows of a benchmark that are no questions and were left out."""

    questions: dict[str, int]
    """Reason -> number of rows that were to be asked."""
    examples: dict[str, int]
    """Reason -> number of rows that were to be few-shot examples."""


@final
class AnswerMetric(TypedDict):
    """How a generated answer is held against the expected one."""

    name: str
    """`exact`, `normalized`, `contains`, `regex` or `numeric`."""
    pattern: str | None
    """The regular expression of `regex`."""
    ignore_case: bool
    """Whether upper and lower case are the same."""


@final
class TaskMetric(TypedDict):
    """Which metric of lm-eval's tasks counts."""

    task_metric: str | None
    """The metric that was asked for; null for each task's own first."""


class TaskStated(TypedDict):
    """What is to be known of a task of lm-eval beside its scores."""

    version: str
    """The version that the task gives itself."""
    shots: int
    """Few-shot examples before each question."""
    output_type: str
    """How lm-eval asks: `multiple_choice`, `loglikelihood`, `generate_until` and others."""


class ScoreProtocol(TypedDict):
    """How a benchmark was asked and its answers were scored."""

    kind: Literal["mmlu", "multiple_choice", "exact_match", "lm_eval", "held_out", "judged_pairs"]
    """The kind of benchmark."""
    shots: int | None
    """Few-shot examples before each question; null for each task's own number."""
    chat_template: bool
    """Whether prompts went through the chat template."""
    limit: int | None
    """Only the first so many questions of each subject; null for all."""
    dtype: str
    """Precision of weights and arithmetic."""
    max_new_tokens: int | None
    """Longest generated answer in tokens; null where nothing is generated."""
    on_long_prompt: Literal["error", "fewer_shots", "leave_out"]
    """What becomes of a prompt that is longer than the model's context."""
    backend: str
    """Which of lm-eval's models asks."""
    template_arguments: NotRequired[dict[str, object]]
    """What the chat template was given beside the turns."""
    fewer_shots: NotRequired[int]
    """Questions that were asked with fewer examples, being too long."""
    left_out: NotRequired[int]
    """Conversations that were not asked, being too long."""
    not_asked: NotRequired[dict[str, int]]
    """Reason -> conversations that the chat template cannot ask; they could not be trained on."""
    bad_rows: NotRequired[BadRows]
    """Rows that were left out, by reason."""
    metric: NotRequired[AnswerMetric | TaskMetric]
    """How answers count, where there is a choice."""
    counted: NotRequired[dict[str, str]]
    """Task of lm-eval -> metric and filter that count."""
    tasks: NotRequired[dict[str, TaskStated]]
    """Task of lm-eval -> what it says of itself."""


class Thoughts(TypedDict):
    """What became of the thoughts in generated answers."""

    answers: int
    """Generated answers."""
    begun: int
    """Answers that began with a thought, in their own words or in those of the prompt."""
    open: int
    """Of these, the answers that ended or were cut inside it: nothing stands behind it."""


class OwnProtocol(ScoreProtocol):
    """The protocol of one candidate, with what is a matter of its own."""

    control_text: NotRequired[int]
    """Questions whose own text spells control tokens, which the tokenizer reads as such."""
    split_markers: NotRequired[dict[str, int]]
    """Control token that the tokenizer reads as several -> number of these."""
    closed_thoughts: NotRequired[dict[str, int]]
    """What closes the thought that the chat template opens, where a text is scored right behind the
    prompt -> number of questions."""
    thoughts: NotRequired[Thoughts]
    """What became of the thoughts in generated answers."""


def shared_protocol(protocol: OwnProtocol) -> ScoreProtocol:
    """Return what of a protocol is the same for all that stand side by side."""
    shared = protocol.copy()
    shared.pop("fewer_shots", None)
    shared.pop("split_markers", None)
    shared.pop("control_text", None)
    shared.pop("closed_thoughts", None)
    shared.pop("thoughts", None)
    return shared


class Tally(TypedDict):
    """A score: the mean over questions, and its error."""

    n: int
    """Number of questions."""
    correct: int | None
    """Number of right answers; null where answers can be partly right."""
    accuracy: float
    """Mean score, from 0 to 1: the fraction of right answers where each is right or wrong."""
    stderr: float | None
    """Standard error of `accuracy`, from 0 to 1; null below two questions."""


class CategoryScore(Tally):
    """`{benchmark}.{category}.json`: what one candidate got on a category."""

    benchmark: str
    """Name of the benchmark."""
    category: str
    """Name of the category."""
    subjects: dict[str, Tally]
    """Subject -> its score."""
    protocol: OwnProtocol
    """How the questions were asked."""
    prompt_set: str
    """sha256 of all that was asked."""
    category_map: str
    """Which categories the subjects were put into."""
    made_of: dict[str, str]
    """Input -> hash of its content."""
    versions: dict[str, str]
    """Library -> version."""


ChangeVerdict = Literal["better", "worse", "undecided", "unchanged"]
"""What a test says of a difference; unchanged where nothing moved at all."""


class PairedDifference(TypedDict):
    """How two candidates differ on the same questions."""

    difference: float
    """Run minus base, in percentage points."""
    stderr: float | None
    """Standard error of `difference`, in percentage points; null below two questions."""
    gained: int
    """Questions whose score rose."""
    lost: int
    """Questions whose score fell."""
    n: int
    """Number of questions."""
    p_value: float
    """Two-sided, of `test`."""
    test: Literal["McNemar", "sign flips"]
    """Exact McNemar where answers are right or wrong, else random flips of the signs."""
    verdict: ChangeVerdict
    """Whether the difference is decided at a p-value below 0.05."""


class Note(TypedDict):
    """What numbers alone would hide."""

    code: str
    """Names the kind of note."""
    text: str
    """What is to be said, as a sentence."""

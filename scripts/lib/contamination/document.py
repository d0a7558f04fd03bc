"""What a search for a benchmark's questions in a dataset wrote, for those who read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict, cast

from scripts.lib.data.parquet import read_table_rows

QUESTIONS_TABLE = "questions.parquet"
"""The questions that were found, a row for each."""

CONVERSATIONS_TABLE = "conversations.parquet"
"""The conversations that hold a question, a row for each."""

SEARCHED = ("train", "valid")
"""Splits that are searched: training reads both, the second to choose when to stop."""

Split = Literal["train", "valid"]


class FoundQuestion(TypedDict):
    """A question that stands in a dataset."""

    question_id: str
    """As in the scores."""
    subject: str
    """As in the scores."""
    how: str
    """`exact` where all its words stand in a row in one turn, else `n-grams`."""
    share: float
    """Share of its words that n-grams of one conversation cover, 0-1; the most of any."""
    train: int
    """Conversations of the training split that hold it."""
    valid: int
    """The same of the valid split."""
    split: Split
    """Split of the conversation that follows: train where one of that split holds it."""
    conversation_id: str
    """The first of those that hold most of it."""
    question: str
    """Its text, the choices aside; the first 500 characters."""
    excerpt: str
    """What that conversation says there."""


class FoundConversation(TypedDict):
    """A conversation that holds questions of the benchmark."""

    conversation_id: str
    """Its name, as in the dataset's ledger."""
    split: Split
    """Its split."""
    how: str
    """As for the question that it holds most of."""
    share: float
    """As for the question that it holds most of."""
    question_id: str
    """The question that it holds most of."""
    questions: int
    """How many questions it holds."""


class Searched(TypedDict):
    """`summary.json`, which is also among the facts of the manifest."""

    kind: str
    """Kind of the benchmark."""
    ngram: int
    """Words of an n-gram."""
    threshold: float
    """Share of a question's words from which on it is found."""
    shortest: int
    """Words of a question below which only a whole turn that says the same counts."""
    questions: int
    """Questions of the benchmark."""
    short: int
    """Of them, those with fewer words than `shortest`."""
    conversations: dict[str, int]
    """Split -> conversations that were searched."""
    found: dict[str, int]
    """Split -> questions that stand in one of its conversations."""
    exact: dict[str, int]
    """Split -> those of them whose words all stand there in a row."""
    holding: dict[str, int]
    """Split -> conversations that hold a question."""
    examples: list[FoundQuestion]
    """The first few questions of those that are found best."""


def times(one: FoundQuestion, split: str) -> int:
    """Return how many conversations of a split hold a question."""
    return one["train"] if split == "train" else one["valid"]


def found_in(folder: Path, split: str) -> dict[str, FoundQuestion]:
    """Return question id -> what was found of it, of the questions that stand in a split.

    Args:
        folder: Written by `find_contamination`.
        split: One of those that were searched.
    """
    rows = cast(list[FoundQuestion], read_table_rows(folder / QUESTIONS_TABLE))
    return {row["question_id"]: row for row in rows if times(row, split)}


def method_words(one: Mapping[str, object]) -> str:
    """Say when a question counts as found.

    Args:
        one: A summary, or anything with its `ngram`, `threshold` and `shortest`.
    """
    share = float(str(one["threshold"]))
    return (
        f"A question stands in a conversation where {one['ngram']}-grams of words that both have"
        f" cover at least {100 * share:g} % of the question's words; of a question of fewer than"
        f" {one['shortest']} words only a whole turn that says the same counts. Case, punctuation"
        " and white space do not count"
    )

"""One question as a model will see it, and what became of it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypedDict

from scripts.lib.questions.rows import Row, Turn


class Answer(TypedDict):
    """What became of one question; the columns of `questions.parquet`.

    `metrics` is JSON, `metric,filter` -> value, for the tasks of lm-eval.
    """

    question_id: str
    subject: str
    prediction: str
    answer: str
    correct: bool
    logprobs: list[float] | None
    response: str | None
    prompt_hash: str
    shots: int
    metrics: str | None


Grader: TypeAlias = "Callable[[Question, Sequence[Any]], Answer]"
"""Turns the model's replies, one for each of a question's requests in order, into an answer."""


class ChatRenderer(Protocol):
    """Renders conversations; `prompts.Chat` is one.

    What fetches a benchmark builds its questions without any, and so depends on no template.
    """

    def __call__(self, messages: Sequence[Turn], *, add_generation_prompt: bool = True) -> str:
        """Return a conversation as text."""
        ...

    def closed(self, prompt: str) -> str:
        """Return what was put behind a prompt to close its thought; nothing where it opens none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question as the model will see it.

    Attributes:
        id: Stable name, `{subject}:{index from 0}`; fit to be a file name.
        subject: The subject it belongs to.
        prompt: The exact text before the answer.
        doc: Its row, as lm-eval's task keeps it.
        shots: Few-shot examples that the prompt shows.
        requests: What lm-eval asks of the model: one request per choice, or one generation; one
            that is to be asked several times stands there as often.
        task: The lm-eval task that judges the responses.
        grade: Turns the replies to the requests into an answer.
        data: What the benchmark says in it, where `doc` holds more than that.
        closed: What closes the thought that the chat template opened, in `prompt`; '' for none.
        fewer: Makes the same question with one few-shot example less; None where that is not to be.
    """

    id: str
    subject: str
    prompt: str
    doc: Row
    shots: int
    requests: tuple[Any, ...]
    task: Any
    grade: Grader
    data: Any = None
    closed: str = ""
    fewer: "Callable[[], Question] | None" = None

    @property
    def prompt_hash(self) -> str:
        """First 16 hex digits of the prompt's sha256."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Unasked:
    """What a chat template cannot ask, as it could not be trained with it.

    Attributes:
        id: The question that it would have been.
        reason: Why, as rendering names it in a dataset's summary.
    """

    id: str
    reason: str


def answer_row(
    question: Question,
    *,
    prediction: str,
    answer: str,
    correct: bool,
    logprobs: list[float] | None = None,
    response: str | None = None,
    metrics: str | None = None,
) -> Answer:
    """Return what became of a question.

    Args:
        question: The question.
        prediction: What the model chose or said, for people.
        answer: What is right, likewise; empty where nothing is.
        correct: Whether the two agree.
        logprobs: Log-probabilities (nats) of what was weighed.
        response: What was generated, as it came.
        metrics: JSON, `metric,filter` -> value, for the tasks of lm-eval.
    """
    return {
        "question_id": question.id,
        "subject": question.subject,
        "prediction": prediction,
        "answer": answer,
        "correct": correct,
        "logprobs": logprobs,
        "response": response,
        "prompt_hash": question.prompt_hash,
        "shots": question.shots,
        "metrics": metrics,
    }

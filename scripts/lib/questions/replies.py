"""Replies of a model -> the answer to a question."""

import math
from collections.abc import Sequence

from scripts.lib.errors import ScoreError
from scripts.lib.questions.question import Answer, Question
from scripts.lib.questions.rows import LETTERS


def judge_choices(question: Question, replies: Sequence[tuple[float, bool]]) -> Answer:
    """Return the answer to a choice: the letter with the largest log-probability.

    Args:
        question: A multiple-choice question.
        replies: Log-probability (nats) of each letter, and whether it is the greedy one.

    Raises:
        ScoreError: A log-probability is not a number.
    """
    logprobs = [logprob for logprob, _ in replies]
    if any(math.isnan(logprob) for logprob in logprobs):
        raise ScoreError(
            f"The model's answer to {question.id} is not a number. Score it in float32; if that "
            "does not help, its weights are damaged: look at the run's verdict and merge proof."
        )
    return answer_row(
        question,
        prediction=LETTERS[logprobs.index(max(logprobs))],
        answer=LETTERS[question.doc["answer"]],
        correct=bool(question.task.process_results(question.doc, list(replies))["acc"]),
        logprobs=logprobs,
    )


def answer_row(
    question: Question,
    *,
    prediction: str,
    answer: str,
    correct: bool,
    logprobs: list[float] | None = None,
    response: str | None = None,
) -> Answer:
    """Return the row of an answer."""
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
        "metrics": None,
    }

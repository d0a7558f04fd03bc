"""The prompts of judged pairs, as the models that answer see them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.answering import GreedyAnswer, GreedyRequest
from scripts.lib.errors import ScoreError
from scripts.lib.judged_rows import prompt_id, read_judged_rows
from scripts.lib.prompts import render
from scripts.lib.questions import Answer, Question
from scripts.lib.score_spec import ScoreSpec

_SUBJECT = "prompts"


class _Said(Answer):
    """An answer, and whether it ended before the limit."""

    ended: bool


def judged_questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any) -> Iterator[Question]:
    """Yield every prompt of a benchmark of judged pairs.

    Args:
        spec: What to ask, and how.
        benchmark: Folder with `questions.jsonl`.
        tokenizer: The tokenizer of the model that will answer, with a chat template.

    Raises:
        ScoreError: The benchmark is empty or malformed, or leaves no room to answer.
    """
    if not spec.max_new_tokens:
        raise ScoreError(f"The prompts in {benchmark} need room to answer. Set `max_new_tokens`.")
    for index, row in enumerate(read_judged_rows(benchmark)[: spec.limit]):
        prompt = render(tokenizer, row.messages)
        yield Question(
            id=prompt_id(index),
            subject=_SUBJECT,
            prompt=prompt,
            doc={},
            shots=0,
            requests=(GreedyRequest(prompt, spec.max_new_tokens),),
            task=None,
            judge=_answer,
        )


def _answer(question: Question, replies: Sequence[GreedyAnswer]) -> _Said:
    """Return what the model said; whether that is any good is for others to say."""
    (said,) = replies
    return {
        "question_id": question.id,
        "subject": question.subject,
        "prediction": said.text.strip(),
        "answer": "",
        "correct": False,
        "logprobs": None,
        "response": said.text,
        "prompt_hash": question.prompt_hash,
        "shots": 0,
        "metrics": None,
        "ended": said.ended,
    }

"""Whether answers on the domain keep to it: they end, have its form, and are in its language.

Judged from the texts that are kept with the scores, so that a changed rule runs no model.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from scripts.lib.benchmarks.held_out.answer_forms import Form, shared_forms
from scripts.lib.benchmarks.held_out.languages import same_language
from scripts.lib.score.thinking import without_thoughts

# Who speaks, on a line of its own: a template's role that has slipped into the answer.
_ROLE_LINE = re.compile(
    r"^[^\w\n]*(?:system|user|assistant)[^\w\n]*$", re.IGNORECASE | re.MULTILINE
)


class Kept(TypedDict):
    """One held-out conversation: the loss of its answer, and how the model's own answer fares.

    `nats` is the loss over `tokens` (the answer and the end of its turn), `bytes` the length of the
    answer alone. Adherence is 1 or 0, or None where it cannot be judged; `wrong` says why.
    """

    question_id: str
    prompt_hash: str
    token_hash: str
    nats: float
    tokens: int
    bytes: int
    stops: float
    format: float
    language: float | None
    wrong: list[str]
    answer: str
    response: str


def judge_all(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Kept], list[str]]:
    """Judge the answers to a whole held-out set.

    Args:
        rows: Of `questions.parquet`.

    Returns:
        A verdict per row, and the forms that all references share, in words.
    """
    forms = shared_forms([without_thoughts(row["answer"]) for row in rows])
    return [_judge(row, forms) for row in rows], [form.words for form in forms]


def _judge(row: Mapping[str, Any], forms: Sequence[Form]) -> Kept:
    answer, response = row["answer"], row["response"]
    texts = without_thoughts(response), without_thoughts(answer)
    form_faults = list(_form_faults(*texts, row["markers"], forms))
    language = same_language(*reversed(texts))
    wrong = [] if row["ended"] else ["did not stop by itself"]
    wrong += form_faults
    if language is False:
        wrong.append("is in another language")
    return {
        "question_id": row["question_id"],
        "prompt_hash": row["prompt_hash"],
        "token_hash": row["token_hash"],
        "nats": -math.fsum(row["logprobs"]),
        "tokens": row["reference_tokens"],
        "bytes": len(answer.encode()),
        "stops": float(row["ended"]),
        "format": float(not form_faults),
        "language": None if language is None else float(language),
        "wrong": wrong,
        "answer": answer,
        "response": response,
    }


def _form_faults(
    response: str, answer: str, markers: Sequence[str], forms: Sequence[Form]
) -> list[str]:
    if not response.strip():
        return ["is empty"]
    faults = [
        f"holds the template's {marker}"
        for marker in markers
        if _stands_in(marker, response) and marker not in answer
    ]
    if _ROLE_LINE.search(response) and not _ROLE_LINE.search(answer):
        faults.append("holds the name of a role on a line of its own")
    lacking = [form.words for form in forms if not form.holds(response.strip())]
    faults += [f"lacks what all references are or have: {words}" for words in lacking]
    return faults


def _stands_in(marker: str, text: str) -> bool:
    """Return whether a text holds a marker; one of plain words counts only where a line begins."""
    if re.fullmatch(r"[\w\s]*:?", marker):
        return any(line.lstrip().startswith(marker) for line in text.splitlines())
    return marker in text

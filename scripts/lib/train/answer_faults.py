"""What is wrong with the form of a model's answers, told from the references to the same rows.

    faults = find_faults(given, reference, forms, limit=48)  # ["without an end"]

Whether an answer is right is for benchmarks. Here a model that learns a task shall end its turns,
not go round in circles, and keep the form that all references have.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import TypedDict

from scripts.lib.data.answer_forms import ROLE_LINE, Form
from scripts.lib.data.replies import whole_turn, without_reasoning

# So many answers may be odd by chance, and that more are is said with this probability of an error:
# 2 of 2 or 3, 3 of 4 to 8, 4 of 16.
TOLERATED_FRACTION = 0.05
SIGNIFICANT = 0.01

# A part that stands four times at the end, in a dozen tokens or more, is a loop; longer parts do
# not fit into a short answer that often.
_TIMES, _LEAST_TOKENS, _LONGEST_PART = 4, 12, 16


class Answer(TypedDict):
    """One answer to a held-out row: a line of `answers.jsonl`."""

    step: int
    row: str
    prompt: str
    reference: str
    answer: str
    ended: bool
    tokens: int
    faults: list[str]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written behind a prompt.

    Attributes:
        ids: Its tokens, without the one that ends it.
        text: The same as text.
        ended: Whether a token that ends a turn follows.
    """

    ids: Sequence[int]
    text: str
    ended: bool


def find_faults(
    prompt: str,
    given: Written,
    reference: Written,
    forms: Sequence[Form],
    control: Mapping[int, str],
    limit: int,
) -> list[str]:
    """Return what is wrong with the form of an answer, in words that follow "answers".

    Args:
        prompt: What it answers; it may open a reasoning.
        given: The answer.
        reference: What the row says.
        forms: Those that all references have, their reasoning left aside.
        control: Control tokens that no reference holds, by id.
        limit: Tokens that the model was allowed to write.
    """
    faults = []
    if not given.ended and reference.ended and len(reference.ids) < limit:
        faults.append("without an end")
    if _repeats(given.ids) and not _repeats(reference.ids):
        faults.append("going round in circles")
    if found := next((control[id_] for id_ in given.ids if id_ in control), None):
        faults.append(f"with the control token {found} in them")
    turn = whole_turn(prompt, given.text)
    said, wanted = without_reasoning(turn), without_reasoning(whole_turn(prompt, reference.text))
    if not said.strip() and wanted.strip():
        opened = bool(turn.strip())
        if not opened:
            faults.append("that are empty")
        elif given.ended:
            faults.append("with a reasoning that never closes")
    if ROLE_LINE.search(said) and not ROLE_LINE.search(wanted):
        faults.append("with the name of a role on a line of its own")
    if given.ended and said.strip():
        lacking = [form.words for form in forms if not form.holds(said.strip())]
        faults += [f"without what all references are or have ({words})" for words in lacking]
    return faults


def _repeats(ids: Sequence[int]) -> bool:
    """Tell whether tokens end in one part over and over."""
    for size in range(1, _LONGEST_PART + 1):
        span = size * max(_TIMES, -(-_LEAST_TOKENS // size))
        tail = ids[-span:]
        if len(tail) == span and all(
            one == other for one, other in zip(tail, tail[size:], strict=False)
        ):
            return True
    return False


def tell_faults(answers: Sequence[Answer]) -> str | None:
    """Return a sentence on answers of one step, if more of them have faults than chance gives."""
    faulty = [answer for answer in answers if answer["faults"]]
    if not more_than_chance(len(faulty), len(answers)):
        return None
    counts = Counter(fault for answer in faulty for fault in answer["faults"])
    told = ", ".join(f"{count} {fault}" for fault, count in counts.most_common())
    return (
        f"Of {len(answers)} answers to held-out rows at step {answers[0]['step']},"
        f" {len(faulty)} do not look like the references: {told}."
    )


def more_than_chance(faulty: int, answers: int) -> bool:
    """Tell whether so many of some answers are unlikely with TOLERATED_FRACTION of them on average.

    One-sided binomial test.
    """
    chance = sum(
        comb(answers, n) * TOLERATED_FRACTION**n * (1 - TOLERATED_FRACTION) ** (answers - n)
        for n in range(faulty, answers + 1)
    )
    return chance < SIGNIFICANT

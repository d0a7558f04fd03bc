"""From a judge's replies to a decision about one prompt."""

import re
from typing import Literal, TypeAlias

from scripts.lib.data.replies import without_reasoning

Verdict: TypeAlias = Literal["A", "B", "C"]
Decision: TypeAlias = Literal["win", "loss", "tie"]

_BRACKETED = re.compile(r"\[\[([ABC])\]\]")
_WORDS = r"(?:(?:final |my |the )?(?:verdict|answer|choice|better answer|winner)(?: is)?)?"
_BETTER = r"(?: is (?:the )?better(?: answer)?)?"
# A letter alone, maybe in a short sentence that says no more, in quotes, stars or brackets.
_LETTER = re.compile(rf"\W*{_WORDS}\W*([ABC]){_BETTER}\W*", re.IGNORECASE)
_TIE = re.compile(r"\W*(?:c\W+)?(?:a )?tie\W*", re.IGNORECASE)


def read_verdict(reply: str) -> Verdict | None:
    """Return the verdict that a judge's reply holds, None where it cannot be read.

    Read are a letter alone (`A`, `**B**`, `Verdict: C.`), on the first line or the last one, and
    the letters in double brackets that other judging prompts ask for (`[[A]]`), if they agree.
    Nothing is guessed: a sentence about both answers is no verdict.
    """
    text = without_reasoning(reply).strip()
    bracketed = set(_BRACKETED.findall(text))
    if bracketed:
        return bracketed.pop() if len(bracketed) == 1 else None
    lines = [line for line in text.splitlines() if line.strip()]
    found = {verdict for line in {*lines[:1], *lines[-1:]} if (verdict := _verdict_in(line))}
    return found.pop() if len(found) == 1 else None


def _verdict_in(line: str) -> Verdict | None:
    if _TIE.fullmatch(line):
        return "C"
    match = _LETTER.fullmatch(line)
    if not match:
        return None
    letters: dict[str, Verdict] = {"A": "A", "B": "B", "C": "C"}
    return letters[match[1].upper()]


def decide(base_first: Verdict | None, run_first: Verdict | None) -> Decision:
    """Return what two verdicts, one for each order of the answers, say of the run.

    A side wins where both orders name it, or one does and the other is a tie. Orders that
    contradict each other tell of the judge, not of the answers, and are a tie (Zheng et al.,
    "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", NeurIPS 2023, section 3.4). So is a
    prompt with a verdict that cannot be read.

    Args:
        base_first: The verdict where the base's answer stood first.
        run_first: The verdict where the run's answer stood first.
    """
    if base_first is None or run_first is None:
        return "tie"
    points = {"A": -1, "B": 1, "C": 0}[base_first] + {"A": 1, "B": -1, "C": 0}[run_first]
    return "win" if points > 0 else "loss" if points < 0 else "tie"

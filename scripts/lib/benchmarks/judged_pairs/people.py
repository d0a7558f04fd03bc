"""What people chose on a sheet of pairs -> the figures that a judge has.

A person sees each pair once, so there are no two orders to hold against each other. Sides are
shuffled instead, and how often the left answer was preferred is told beside the win rate.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from scripts.lib.benchmarks.judged_pairs.document import Figures, Proportion
from scripts.lib.benchmarks.judged_pairs.scores import (
    JudgedPrompt,
    figures,
    rate_with_ties,
    wilson_interval,
)
from scripts.lib.benchmarks.judged_pairs.sheets import CHOICES, COLUMNS, Key, KeyedPair
from scripts.lib.benchmarks.judged_pairs.tables import proportion_words, with_interval
from scripts.lib.errors import ScoreError
from scripts.lib.judge.verdicts import Decision, Verdict

Choices = Mapping[str, str]
"""Pair -> `left`, `right` or `tie`; a pair that somebody left open is not there."""

_VERDICTS: Mapping[Decision, tuple[Verdict, Verdict]] = {
    "win": ("B", "A"),
    "loss": ("A", "B"),
    "tie": ("C", "C"),
}
"""What somebody says to whom places mean nothing: with the base first, and with the run first."""


class PeopleFigures(TypedDict):
    """What people's choices add up to."""

    people: int
    """Files of answers."""
    asked: int
    """Pairs of the sheet."""
    unanswered: int
    """Pairs that nobody chose on; the figures leave them out."""
    figures: Figures
    """As a judge's. Of several people, most of those who preferred a side decide a pair."""
    left: Proportion
    """How often the answer on the left was preferred, of all choices of a side."""
    agreement: Proportion
    """How often two people chose the same on a pair, over pairs of people."""
    with_judge: Proportion
    """How often people and the judge decided the same."""


def read_choices(path: Path, key: Key) -> dict[str, str]:
    """Read one person's answers.

    Args:
        path: CSV with the columns `sheet`, `pair` and `choice`; others are passed over.
        key: The key of the sheet.

    Raises:
        ScoreError: The file is no such CSV, is of another sheet, or says something else than left,
            right, tie or nothing, with its line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScoreError(f"{path} cannot be read as CSV: {error}") from None
    if missing:
        raise ScoreError(f"{path} has no column {', '.join(missing)}: it is no file of answers")
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        where, pair = f"{path}: row {number}", (row["pair"] or "").strip()
        choice = (row["choice"] or "").strip().lower()
        if row["sheet"] != key["sheet"] or pair not in key["pairs"]:
            raise ScoreError(f"{where} is of another sheet than the key ({key['sheet']})")
        if choice and choice not in CHOICES:
            raise ScoreError(f"{where}: {choice!r} is none of {', '.join(CHOICES)}")
        if choice and found.setdefault(pair, choice) != choice:
            raise ScoreError(f"{where}: {pair} was answered before, and otherwise")
    return found


def people_figures(key: Key, answers: Sequence[Choices]) -> PeopleFigures:
    """Return the figures of what people chose.

    Args:
        key: The key of the sheet.
        answers: What each person chose.
    """
    decided: dict[str, Decision] = {}
    sides: Counter[str] = Counter()
    same = compared = 0
    for name, pair in key["pairs"].items():
        choices = [one[name] for one in answers if name in one]
        if not choices:
            continue
        sides.update(choices)
        decided[name] = _decision(choices, pair)
        alike = sum(count * (count - 1) // 2 for count in Counter(choices).values())
        same, compared = same + alike, compared + len(choices) * (len(choices) - 1) // 2
    prompts = [
        JudgedPrompt(
            category=key["pairs"][name]["category"],
            equal=False,
            base_first=_VERDICTS[decision][0],
            run_first=_VERDICTS[decision][1],
        )
        for name, decision in decided.items()
    ]
    prompts += [
        JudgedPrompt(category=category, equal=True, base_first=None, run_first=None)
        for category in key["equal"].values()
    ]
    chosen = sides["left"] + sides["right"]
    left = rate_with_ties(sides["left"], sides["right"], chosen)
    as_judge = sum(key["pairs"][name]["judge"] == decision for name, decision in decided.items())
    return {
        "people": len(answers),
        "asked": len(key["pairs"]),
        "unanswered": len(key["pairs"]) - len(decided),
        "figures": figures(prompts),
        "left": {"rate": left["win_rate"], "interval": left["interval"], "prompts": chosen},
        "agreement": _share(same, compared),
        "with_judge": _share(as_judge, len(decided)),
    }


def _decision(choices: Sequence[str], pair: KeyedPair) -> Decision:
    """Return what most of those who prefer a side prefer."""
    lead = choices.count("left") - choices.count("right")
    if not lead:
        return "tie"
    return "win" if (lead > 0) == (pair["left"] == "run") else "loss"


def _share(part: int, whole: int) -> Proportion:
    if not whole:
        return {"rate": None, "interval": None, "prompts": 0}
    return {"rate": part / whole, "interval": wilson_interval(part, whole), "prompts": whole}


def in_words(found: PeopleFigures, key: Key) -> list[str]:
    """Return the figures in words, a line for each."""
    whole = found["figures"]
    lines = [
        f"{key['run']} on {key['benchmark']}: {whole['verdict']}; {whole['wins']:,} wins,"
        f" {whole['losses']:,} losses, {whole['ties']:,} ties, of which {whole['equal']:,} equal",
        f"win rate in %, ties counted half: {with_interval(whole['win_rate'], whole['interval'])},"
        f" sign test p = {whole['p_value']:.3g}",
    ]
    lines += [
        f"  {name}: {with_interval(part['win_rate'], part['interval'])}, {part['verdict']}"
        for name, part in whole["categories"].items()
    ]
    lines.append(f"left preferred in %: {proportion_words(found['left'])}")
    lines.append(f"same as the judge in %: {proportion_words(found['with_judge'])}")
    if found["people"] > 1:
        words = proportion_words(found["agreement"])
        lines.append(f"{found['people']} people chose alike in %: {words}")
    if found["unanswered"]:
        lines.append(f"left open and not counted: {found['unanswered']:,} of {found['asked']:,}")
    return lines

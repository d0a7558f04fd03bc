"""A judge's replies -> decisions, win rate and how far to trust it, of one tuned model."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.judged_pairs.document import (
    Figures,
    JudgedScoreFile,
    PairFigures,
    Proportion,
    WinRate,
)
from scripts.lib.data.parquet import read_table_rows
from scripts.lib.judge.files import JUDGEMENTS_TABLE
from scripts.lib.judge.verdicts import Verdict, decide, read_verdict
from scripts.lib.score.corrections import decide_together
from scripts.lib.score.documents import ChangeVerdict
from scripts.lib.score.files import PROTOCOL_FILE, THOUGHTS
from scripts.lib.score.intervals import Z, detectable_share, score_interval
from scripts.lib.score.statistics import SIGNIFICANCE, sign_test


@dataclass(frozen=True, kw_only=True)
class JudgedPrompt:
    """The verdicts on one prompt.

    Attributes:
        category: Its category, or None.
        equal: Whether both models answered alike, so that nobody was asked.
        base_first: The verdict where the base's answer stood first, None if unreadable.
        run_first: The verdict where the run's answer stood first.
    """

    category: str | None
    equal: bool
    base_first: Verdict | None
    run_first: Verdict | None

    @property
    def decision(self) -> str:
        """Win, loss or tie of the run."""
        return "tie" if self.equal else decide(self.base_first, self.run_first)


def figures(prompts: Sequence[JudgedPrompt]) -> Figures:
    """Return the figures of all prompts, and of each category where prompts have one."""
    names = sorted({p.category for p in prompts if p.category is not None})
    parts = {name: part_figures([p for p in prompts if p.category == name]) for name in names}
    decide_together([*parts.values()], "categories")
    return {**part_figures(prompts), "categories": parts}


def part_figures(prompts: Sequence[JudgedPrompt]) -> PairFigures:
    """Return the figures of some prompts."""
    decisions = [prompt.decision for prompt in prompts]
    wins, losses = decisions.count("win"), decisions.count("loss")
    n, decided = len(prompts), wins + losses
    p_value = sign_test(wins, decided) if decided else 1.0
    asked = [prompt for prompt in prompts if not prompt.equal]
    readings = [verdict for p in asked for verdict in (p.base_first, p.run_first)]
    shown = detectable_share(decided, n) if n else None
    return {
        "n": n,
        "wins": wins,
        "losses": losses,
        "ties": n - decided,
        "equal": n - len(asked),
        **rate_with_ties(wins, losses, n),
        "p_value": p_value,
        "family": "primary",
        "p_corrected": p_value,
        "detectable": None if shown is None else 50 * shown,
        "verdict": _verdict(wins, losses, p_value, changed=bool(asked)),
        "readings": len(readings),
        "unreadable": readings.count(None),
        "first_place": _first_place(asked),
        "consistency": _consistency(asked),
    }


def rate_with_ties(wins: int, losses: int, n: int) -> WinRate:
    """Return the win rate, ties counted half, and its 95 % score interval.

    The rate is (1 + d) / 2, where d is the difference of the shares of wins and losses: two shares
    of the same prompts. The interval is Tango's of d: it knows that ties vary less than wins and
    losses, and has a width even where all prompts agree.

    Returns:
        `win_rate` and `interval`, both None without prompts.
    """
    if not n:
        return {"win_rate": None, "interval": None}
    low, high = score_interval(wins, losses, n)
    return {
        "win_rate": (1 + (wins - losses) / n) / 2,
        "interval": [(1 + low) / 2, (1 + high) / 2],
    }


def _first_place(asked: Sequence[JudgedPrompt]) -> Proportion:
    """Return how often the answer that stood first was preferred, over prompts with a preference.

    A prompt counts the share of its preferences, at most two, that went to the first place: 1, 0 or
    one half, so that the two orders of one prompt are not taken for independent. A judge who does
    not look at the order has a rate of one half.
    """
    places = [[v for v in (p.base_first, p.run_first) if v in ("A", "B")] for p in asked]
    preferring = [found for found in places if found]
    first = sum("B" not in found for found in preferring)
    second = sum("A" not in found for found in preferring)
    rate = rate_with_ties(first, second, len(preferring))
    return {"rate": rate["win_rate"], "interval": rate["interval"], "prompts": len(preferring)}


def _consistency(asked: Sequence[JudgedPrompt]) -> Proportion:
    """Return how often two readable orders agree, with Wilson's interval."""
    swapped: Mapping[Verdict, Verdict] = {"A": "B", "B": "A", "C": "C"}
    both = [p for p in asked if p.base_first and p.run_first]
    same = sum(p.base_first == swapped[p.run_first] for p in both if p.run_first)
    if not both:
        return {"rate": None, "interval": None, "prompts": 0}
    return {
        "rate": same / len(both),
        "interval": wilson_interval(same, len(both)),
        "prompts": len(both),
    }


def wilson_interval(successes: int, trials: int) -> list[float]:
    """Return Wilson's 95 % interval of a share (JASA 22, 1927): low and high.

    To the bit that of `scipy.stats.binomtest(...).proportion_ci(method="wilson")`, which takes a
    second to import.
    """
    share = successes / trials
    denominator = 2 * (trials + Z**2)
    center = (2 * trials * share + Z**2) / denominator
    half = Z / denominator * math.sqrt(4 * trials * share * (1 - share) + Z**2)
    return [
        center - half if successes else 0.0,
        center + half if successes < trials else 1.0,
    ]


def _verdict(wins: int, losses: int, p_value: float, *, changed: bool) -> ChangeVerdict:
    if not changed:
        return "unchanged"
    if p_value >= SIGNIFICANCE:
        return "undecided"
    return "better" if wins > losses else "worse"


def figures_file(benchmark: str) -> str:
    """Return the name of the file of figures."""
    return f"{benchmark}.judged.json"


def prompts_file(benchmark: str) -> str:
    """Return the name of the file that says of each prompt what was judged how."""
    return f"{benchmark}.judged.jsonl"


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Do what `sum_up_judgements` says, as the program asks every kind."""
    (judgements,) = inputs["judgements"]
    return sum_up_judgements(spec["benchmark"], judgements, out)


def sum_up_judgements(benchmark: str, judgements: Path, out: Path) -> dict[str, Any]:
    """Write `{benchmark}.judged.json`, and `{benchmark}.judged.jsonl` with a line per prompt.

    Args:
        benchmark: Its name.
        judgements: Folder of the judgements.
        out: Existing empty folder.

    Returns:
        The figures without those of categories.
    """
    rows = read_table_rows(judgements / JUDGEMENTS_TABLE)
    prompts = [_judged(row) for row in rows]
    found = figures(prompts)
    protocol = json.loads((judgements / PROTOCOL_FILE).read_text(encoding="utf-8"))
    document: JudgedScoreFile = {
        "benchmark": benchmark,
        "answers": protocol["answers"],
        "judge": protocol["judge"],
        "other_tokens": protocol["other_tokens"],
        "split": protocol["split"],
        "split_markers": protocol["split_markers"],
        "cut": {
            "base": sum(not row["base_ended"] for row in rows),
            "run": sum(not row["run_ended"] for row in rows),
        },
        "thoughts": protocol.get(THOUGHTS),
        **found,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (out / figures_file(benchmark)).write_text(text + "\n", encoding="utf-8")
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in _lines(rows, prompts))
    (out / prompts_file(benchmark)).write_text("".join(lines), encoding="utf-8")
    return {key: value for key, value in found.items() if key != "categories"}


def _judged(row: Mapping[str, Any]) -> JudgedPrompt:
    verdicts = {
        order: None if row[order] is None else read_verdict(row[order])
        for order in ("base_first", "run_first")
    }
    return JudgedPrompt(category=row["category"], equal=row["equal"], **verdicts)


def _lines(
    rows: Sequence[Mapping[str, Any]], prompts: Sequence[JudgedPrompt]
) -> Iterator[dict[str, Any]]:
    """Yield what people look at: the decision first, then the texts, then the judge's words."""
    for row, prompt in zip(rows, prompts, strict=True):
        yield {
            "prompt_id": row["prompt_id"],
            "category": row["category"],
            "decision": prompt.decision,
            "equal": prompt.equal,
            "request": row["request"],
            "reference": row["reference"],
            "base": row["base"],
            "run": row["run"],
            **{
                order: {
                    "verdict": getattr(prompt, order),
                    "reply": row[order],
                    "logprobs": row[f"{order}_logprobs"],
                }
                for order in ("base_first", "run_first")
            },
        }

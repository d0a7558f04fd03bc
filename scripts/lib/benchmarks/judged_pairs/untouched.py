"""The win rate on prompts that stand in no training row, from the lines about all prompts."""

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.judged_pairs.document import PairFigures
from scripts.lib.benchmarks.judged_pairs.scores import JudgedPrompt, part_figures, prompts_file
from scripts.lib.compare.document import UntouchedMeasure
from scripts.lib.compare.spec import ComparedCandidate


def prompt_lines(folder: Path, benchmark: str) -> list[dict[str, Any]]:
    """Return what is known of each prompt.

    Args:
        folder: Of what the judgements on a candidate add up to.
        benchmark: Its name.
    """
    lines = (folder / prompts_file(benchmark)).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def untouched(
    benchmark: str,
    base: ComparedCandidate,
    run: ComparedCandidate,
    artifacts: Mapping[str, Path],
    found: Set[str],
) -> tuple[Set[str], UntouchedMeasure | None]:
    """Return the win rate on the prompts that stand in no training row.

    Args:
        benchmark: Its name.
        base: The candidate's base, whose win rate is a half by definition.
        run: The candidate.
        artifacts: Folder of every category score that they name.
        found: Prompts that stand in a training row.

    Returns:
        The prompts that were judged, and the measure; None where none of them was found, or all
        were.
    """
    lines = prompt_lines(artifacts[run.categories[benchmark]], benchmark)
    judged = {line["prompt_id"]: _judged(line) for line in lines}
    left = [prompt for id_, prompt in judged.items() if id_ not in found]
    if not left or len(left) == len(judged):
        return judged.keys(), None
    figures, everywhere = part_figures(left), part_figures([*judged.values()])
    interval = figures["interval"]
    return judged.keys(), {
        "measure": "win_rate",
        "unit": "points",
        "n": len(left),
        "base": 50.0,
        "run": _percent(figures),
        "difference": _percent(figures) - 50,
        "interval": interval and [100 * end - 50 for end in interval],
        "everywhere": _percent(everywhere) - 50,
        "p_value": figures["p_value"],
        "verdict": figures["verdict"],
    }


def _percent(figures: PairFigures) -> float:
    """Return a win rate in percent; there is one wherever there are prompts."""
    return 100 * (figures["win_rate"] or 0.0)


def _judged(line: Mapping[str, Any]) -> JudgedPrompt:
    verdicts: Sequence[Any] = [line[order]["verdict"] for order in ("base_first", "run_first")]
    return JudgedPrompt(
        category=line["category"],
        equal=line["equal"],
        base_first=verdicts[0],
        run_first=verdicts[1],
    )

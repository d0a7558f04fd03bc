"""What MMLU's questions say; and its results in the files that LLaMA-Factory's `eval` wrote.

`results.json` holds subject -> index of the question -> predicted letter; `results.log` one line
for each category, as right-aligned name and score in percent, without an end of line at its end.
The names, the order and the form are those of src/llamafactory/eval/evaluator.py of 0.9.3.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.data.parquet import read_table_rows
from scripts.lib.report.asked import Asked, asked_choices
from scripts.lib.score.files import QUESTIONS_TABLE

ANSWERS_ARE_LETTERS = True

RESULTS = "results.json"
LOG = "results.log"


def asked(benchmark: Path, shots: int | None) -> Asked:
    """Return what was asked.

    Args:
        benchmark: Folder with `test/` and `dev/`.
        shots: Few-shot examples before each question.
    """
    return asked_choices(benchmark, shots, lambda stem, row: stem)


def write_legacy(
    categories: Mapping[str, Any],
    scores: Sequence[Path],
    out: Path,
    *,
    subjects: Collection[str] | None,
) -> None:
    """Write both files for one candidate and benchmark.

    Args:
        categories: Category -> its tally, in the order of the comparison.
        scores: Folders of its scoring jobs.
        out: Folder to make.
        subjects: Only these subjects, or None for all that were scored.
    """
    out.mkdir(parents=True)
    text = json.dumps(_predictions(scores, subjects), indent=2)
    (out / RESULTS).write_text(text, encoding="utf-8")
    (out / LOG).write_text(_log(categories), encoding="utf-8")


def _predictions(
    scores: Sequence[Path], subjects: Collection[str] | None
) -> dict[str, dict[str, str]]:
    """Return subject -> index -> letter, both in ascending order."""
    found: dict[str, dict[int, str]] = {}
    columns = ["question_id", "subject", "prediction"]
    for folder in scores:
        for row in read_table_rows(folder / QUESTIONS_TABLE, columns):
            index = int(row["question_id"].rpartition(":")[2])
            found.setdefault(row["subject"], {})[index] = row["prediction"]
    return {
        subject: {str(index): rows[index] for index in sorted(rows)}
        for subject, rows in sorted(found.items())
        if subjects is None or subject in subjects
    }


def _log(categories: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{category:>15}: {100 * score['accuracy']:.2f}" for category, score in categories.items()
    )

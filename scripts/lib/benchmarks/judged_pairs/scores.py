"""A judge's replies -> verdicts, decisions and figures of one tuned model on one benchmark."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scripts.lib.benchmarks.judged_pairs.figures import JudgedPrompt, figures
from scripts.lib.judge.files import JUDGEMENTS_TABLE
from scripts.lib.judge.verdicts import read_verdict
from scripts.lib.score.files import PROTOCOL_FILE


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
    rows = pq.read_table(judgements / JUDGEMENTS_TABLE).to_pylist()
    prompts = [_judged(row) for row in rows]
    found = figures(prompts)
    protocol = json.loads((judgements / PROTOCOL_FILE).read_text(encoding="utf-8"))
    cut = {who: sum(not row[f"{who}_ended"] for row in rows) for who in ("base", "run")}
    document = {"benchmark": benchmark, **protocol, "cut": cut, **found}
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

"""Per-question answers -> one JSON per category, as the original how-to's table needs them.

Averages are over questions, not over categories or subjects: a subject of 1,534 questions weighs
fifteen times as much as one of 100. So do the paper, LLaMA-Factory and lm-eval.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from scripts.lib.categories import CategoryMap, file_name, group_subjects
from scripts.lib.errors import ScoreError
from scripts.lib.score_files import PROTOCOL_FILE, QUESTIONS_TABLE


class Tally(TypedDict):
    """A score: questions, right answers, their fraction and its standard error."""

    n: int
    correct: int
    accuracy: float
    stderr: float | None


@dataclass(frozen=True, kw_only=True)
class AggregateSpec:
    """What decides the bytes of category scores.

    Attributes:
        benchmark: Its name, the first part of the file names.
        categories: `hendrycks`, `lm-eval`, or `none` for the average alone.
        subjects: Only these subjects, or None for all that were scored.
    """

    benchmark: str
    categories: CategoryMap
    subjects: tuple[str, ...] | None

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "AggregateSpec":
        """Build the spec from parsed JSON, where tuples are lists."""
        subjects = mapping["subjects"]
        return cls(**{**mapping, "subjects": None if subjects is None else tuple(subjects)})


def aggregate_scores(spec: AggregateSpec, scores: Sequence[Path], out: Path) -> dict[str, Tally]:
    """Write `{benchmark}.{category}.json` for every category that has questions.

    Args:
        spec: Category map and subjects.
        scores: Folders of `score_benchmark`, all jobs of one candidate and benchmark.
        out: Existing empty folder.

    Returns:
        The tally of each category by display name, Average first.

    Raises:
        ScoreError: The jobs overlap, were asked differently, or lack a subject.
    """
    table, protocol = load_answers(scores)
    scored = set(table["subject"])
    missing = sorted(set(spec.subjects or ()) - scored)
    if missing:
        raise ScoreError(
            f"The scores of {spec.benchmark!r} lack the subjects {', '.join(missing)}. "
            "Score them, or leave them out of `subjects`."
        )
    tallies: dict[str, Tally] = {}
    for category, subjects in group_subjects(spec.subjects or scored, spec.categories).items():
        part = table[table["subject"].isin(subjects)]
        tallies[category] = tally(part["correct"])
        document = {
            "benchmark": spec.benchmark,
            "category": category,
            **tallies[category],
            "subjects": {
                subject: tally(rows["correct"]) for subject, rows in part.groupby("subject")
            },
            "protocol": protocol,
            "prompt_set": prompt_set(zip(part["question_id"], part["prompt_hash"], strict=True)),
            "category_map": spec.categories,
        }
        path = out / f"{spec.benchmark}.{file_name(category)}.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return tallies


def load_answers(scores: Sequence[Path]) -> tuple[Any, dict[str, Any]]:
    """Read the jobs of one candidate and benchmark as one table.

    Args:
        scores: Folders of `score_benchmark`.

    Returns:
        All answers, one row per question in the order of `question_id` within the jobs, and the
        protocol that the jobs share.

    Raises:
        ScoreError: There is no job, two jobs hold the same question, or their protocols differ.
    """
    if not scores:
        raise ScoreError("There are no scores to read. Score the benchmark first.")
    tables = [pd.read_parquet(folder / QUESTIONS_TABLE) for folder in scores]
    protocols = [json.loads((folder / PROTOCOL_FILE).read_text("utf-8")) for folder in scores]
    for folder, protocol in zip(scores, protocols, strict=True):
        differing = sorted(k for k in protocols[0] if protocol.get(k) != protocols[0][k])
        if differing or len(protocol) != len(protocols[0]):
            raise ScoreError(
                f"{scores[0]} and {folder} were asked differently ({', '.join(differing)}), so "
                "they are no parts of one score. Score both under the same settings."
            )
    table = pd.concat(tables, ignore_index=True)
    twice = table["question_id"][table["question_id"].duplicated()]
    if len(twice):
        raise ScoreError(
            f"Question {twice.iloc[0]} was scored twice, in two of: "
            f"{', '.join(str(folder) for folder in scores)}. Leave one of these out."
        )
    return table, protocols[0]


def tally(correct: Iterable[bool]) -> Tally:
    """Count right answers.

    The standard error is lm-eval's, sqrt(p (1 - p) / (n - 1)), and None below two questions.

    Example: `tally([True, False])` is 1 of 2, accuracy 0.5, standard error 0.5.

    Raises:
        ScoreError: There is no answer at all.
    """
    answers = [bool(value) for value in correct]
    n, right = len(answers), sum(answers)
    if not n:
        raise ScoreError("There is no answer to count. Check the benchmark and its subjects.")
    p = right / n
    stderr = math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else None
    return {"n": n, "correct": right, "accuracy": p, "stderr": stderr}


def prompt_set(asked: Iterable[tuple[str, str]]) -> str:
    """Return the sha256 of everything that was asked, as pairs of question id and prompt hash.

    Two scores can be set side by side exactly when these are equal; the order does not count.
    """
    lines = "".join(f"{question}\t{prompt}\n" for question, prompt in sorted(asked))
    return hashlib.sha256(lines.encode()).hexdigest()

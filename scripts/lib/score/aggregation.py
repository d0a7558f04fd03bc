"""Per-question answers -> one JSON per category, as the original how-to's table needs them.

Averages are over questions, not over categories or subjects: a subject of 1,534 questions weighs
fifteen times as much as one of 100. So do the paper, LLaMA-Factory and lm-eval.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

import pyarrow.parquet as pq

from scripts.lib.data.parquet import read_table_rows, table_of
from scripts.lib.errors import ScoreError
from scripts.lib.questions.bad_rows import add_counts
from scripts.lib.questions.categories import CategoryMap, group_subjects
from scripts.lib.questions.category_names import file_name
from scripts.lib.score.answers import SCHEMA, answers_file
from scripts.lib.score.documents import CategoryScore, OwnProtocol, Tally, Thoughts
from scripts.lib.score.files import (
    BAD_ROWS,
    CLOSED_THOUGHTS,
    CONTROL_TEXT,
    FEWER_SHOTS,
    PROTOCOL_FILE,
    PROVENANCE_FILE,
    QUESTIONS_TABLE,
    TASKS,
    THOUGHTS,
)
from scripts.lib.score.standard_error import standard_error


class ScoredAnswer(TypedDict):
    """What of an answer counts: the question, how it was asked, and its score.

    The score is 1 for a right answer and 0 for a wrong one; some metrics give what is between. The
    margin is the log-probability (nats) of the right choice less that of the likeliest other one;
    None where no choices were weighed.
    """

    question_id: str
    subject: str
    score: float
    prompt_hash: str
    token_hash: str
    margin: float | None


class Counting(Protocol):
    """How a kind of benchmark finds the score of an answer."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of `questions.parquet` that it looks at beside ids, subjects and hashes."""
        ...

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> Iterable[float | None]:
        """Return the score of each answer of a job; None for one that does not count."""
        ...

    def margins(self, rows: Sequence[Mapping[str, Any]]) -> Iterable[float | None]:
        """Return the margin of each answer; None where no choices were weighed."""
        ...

    def stated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the protocol says of it, given the answers of all jobs."""
        ...


@dataclass(frozen=True, kw_only=True)
class AggregateSpec:
    """What decides the bytes of category scores.

    Attributes:
        kind: The benchmark's kind, whose module sums up.
        benchmark: Its name, the first part of the file names.
        categories: `hendrycks`, `lm-eval`, `column` for the set's own, `tasks` for one each, or
            `none` for the average alone.
        subjects: Only these subjects, or None for all that were scored.
        metric: How generated answers are judged, or which metric of lm-eval's tasks counts; None
            where letters were.
    """

    kind: str
    benchmark: str
    categories: CategoryMap
    subjects: tuple[str, ...] | None
    metric: Mapping[str, Any] | None

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "AggregateSpec":
        """Build the spec from parsed JSON, where tuples are lists."""
        subjects = mapping["subjects"]
        return cls(**{**mapping, "subjects": None if subjects is None else tuple(subjects)})


def aggregate_scores(
    spec: AggregateSpec, scores: Sequence[Path], out: Path, counting: Counting
) -> dict[str, Tally]:
    """Write `{benchmark}.{category}.json` for every category that has questions.

    `{benchmark}.answers.parquet` has every answer that counts, for comparisons.

    Args:
        spec: Category map and subjects.
        scores: Folders of `score_benchmark`, all jobs of one candidate and benchmark.
        out: Existing empty folder.
        counting: How the score of an answer is found.

    Returns:
        The tally of each category by display name, Average first.

    Raises:
        ScoreError: The jobs overlap, were asked differently or of other models, or lack a subject.
    """
    answers, protocol = load_answers(scores, counting)
    provenance = read_provenance(scores)
    scored = {answer["subject"] for answer in answers}
    missing = sorted(set(spec.subjects or ()) - scored)
    if missing:
        raise ScoreError(
            f"The scores of {spec.benchmark!r} lack the subjects {', '.join(missing)}. "
            "Score them, or leave them out of `subjects`."
        )
    wanted = spec.subjects or scored
    counted = [answer for answer in answers if answer["subject"] in wanted]
    pq.write_table(table_of(counted, SCHEMA), out / answers_file(spec.benchmark))
    tallies: dict[str, Tally] = {}
    for category, subjects in group_subjects(wanted, spec.categories).items():
        by_subject = {name: [a for a in answers if a["subject"] == name] for name in subjects}
        part = [answer for rows in by_subject.values() for answer in rows]
        tallies[category] = tally(_values(part))
        document: CategoryScore = {
            "benchmark": spec.benchmark,
            "category": category,
            **tallies[category],
            "subjects": {name: tally(_values(rows)) for name, rows in by_subject.items()},
            "protocol": protocol,
            "prompt_set": prompt_set(part),
            "category_map": spec.categories,
            "made_of": provenance["made_of"],
            "versions": provenance["versions"],
        }
        path = out / f"{spec.benchmark}.{file_name(category)}.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return tallies


def _values(answers: Sequence[ScoredAnswer]) -> list[float]:
    return [answer["score"] for answer in answers]


def load_answers(
    scores: Sequence[Path], counting: Counting
) -> tuple[list[ScoredAnswer], OwnProtocol]:
    """Read the jobs of one candidate and benchmark.

    Args:
        scores: Folders of `score_benchmark`.
        counting: How the score of an answer is found.

    Returns:
        All answers, job after job, and the protocol that the jobs share, with the number of all
        questions that were asked with fewer few-shot examples, of all rows that were left out, and
        with what is to be said of the scores.

    Raises:
        ScoreError: There is no job, two jobs hold the same question, or their protocols differ.
    """
    if not scores:
        raise ScoreError("There are no scores to read. Score the benchmark first.")
    answers: list[ScoredAnswer] = []
    rows: list[dict[str, Any]] = []
    protocols = []
    columns = ["question_id", "subject", "prompt_hash", "token_hash", *counting.columns]
    fewer = spelled = 0
    bad = []
    closed: Counter[str] = Counter()
    thoughts: list[Thoughts] = []
    tasks: dict[str, Any] = {}
    for folder in scores:
        found = read_table_rows(folder / QUESTIONS_TABLE, columns)
        answers += _scored(found, counting)
        rows += found
        protocol = json.loads((folder / PROTOCOL_FILE).read_text(encoding="utf-8"))
        fewer += protocol.pop(FEWER_SHOTS, 0)
        spelled += protocol.pop(CONTROL_TEXT, 0)
        closed.update(protocol.pop(CLOSED_THOUGHTS, {}))
        thoughts += [protocol.pop(THOUGHTS)] if THOUGHTS in protocol else []
        bad.append(protocol.pop(BAD_ROWS, {}))
        tasks |= protocol.pop(TASKS, {})
        protocols.append(protocol)
        keys = protocols[0].keys() | protocol.keys()
        differing = sorted(key for key in keys if protocols[0].get(key) != protocol.get(key))
        if differing:
            raise ScoreError(
                f"{scores[0]} and {folder} were asked differently ({', '.join(differing)}), so "
                "they are no parts of one score. Score both under the same settings."
            )
    (question, times), *_ = Counter(answer["question_id"] for answer in answers).most_common(1)
    if times > 1:
        raise ScoreError(
            f"Question {question} was scored {times} times, in: "
            f"{', '.join(str(folder) for folder in scores)}. Leave one of these out."
        )
    protocol = protocols[0] | {FEWER_SHOTS: fewer, **counting.stated(rows)}
    if spelled:
        protocol[CONTROL_TEXT] = spelled
    if closed:
        protocol[CLOSED_THOUGHTS] = dict(closed)
    if thoughts:
        protocol[THOUGHTS] = {
            "answers": sum(one["answers"] for one in thoughts),
            "begun": sum(one["begun"] for one in thoughts),
            "open": sum(one["open"] for one in thoughts),
        }
    if left_out := add_counts(bad):
        protocol[BAD_ROWS] = left_out
    if tasks:
        protocol[TASKS] = tasks
    return answers, protocol


def _scored(rows: Sequence[Mapping[str, Any]], counting: Counting) -> list[ScoredAnswer]:
    return [
        ScoredAnswer(
            question_id=row["question_id"],
            subject=row["subject"],
            score=score,
            prompt_hash=row["prompt_hash"],
            token_hash=row["token_hash"],
            margin=margin,
        )
        for row, score, margin in zip(
            rows, counting.scores(rows), counting.margins(rows), strict=True
        )
        if score is not None
    ]


def read_provenance(scores: Sequence[Path]) -> dict[str, Any]:
    """Return what the scoring jobs of one candidate and benchmark were made of.

    Args:
        scores: Folders of `score_benchmark`.

    Raises:
        ScoreError: They were made of other models or questions, or with other libraries.
    """
    found: list[dict[str, Any]] = [
        json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8")) for folder in scores
    ]
    for folder, other in zip(scores, found, strict=True):
        if other != found[0]:
            raise ScoreError(
                f"{scores[0]} and {folder} were made of other models or questions, or with other"
                " libraries, so they are no parts of one score. Score both again."
            )
    return found[0]


def tally(scores: Sequence[float]) -> Tally:
    """Average scores of answers.

    Example: of 1 and 0 the accuracy is 0.5 and the standard error 0.5.

    Raises:
        ScoreError: There is no answer at all.
    """
    n = len(scores)
    if not n:
        raise ScoreError("There is no answer to count. Check the benchmark and its subjects.")
    total = math.fsum(scores)
    return {
        "n": n,
        "correct": round(total) if {*scores} <= {0.0, 1.0} else None,
        "accuracy": total / n,
        "stderr": standard_error(scores),
    }


def prompt_set(answers: Iterable[Mapping[str, Any]]) -> str:
    """Return the sha256 of everything that was asked: question ids and prompt hashes.

    Two scores can be set side by side exactly when these are equal; the order does not count.

    Args:
        answers: Rows with `question_id` and `prompt_hash`.
    """
    asked = sorted((answer["question_id"], answer["prompt_hash"]) for answer in answers)
    lines = "".join(f"{question}\t{prompt}\n" for question, prompt in asked)
    return hashlib.sha256(lines.encode()).hexdigest()

"""Every question of a benchmark with the answers of a base and of what was made of it.

Pure but for reading: tables of scores in, one table out, a row for each question. The pages show
those that flipped, and the files beside them hold all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scripts.lib.contamination.document import FoundQuestion
from scripts.lib.data.parquet import array_of, read_table
from scripts.lib.errors import ScoreError
from scripts.lib.score.answers import answers_table, numbers_of
from scripts.lib.score.files import QUESTIONS_TABLE

Outcome = Literal[
    "right to wrong", "wrong to right", "lower", "higher", "stayed right", "stayed wrong", "as good"
]
"""What became of a question; `lower`, `higher` and `as good` where answers can be partly right."""

FLIPPED: tuple[Outcome, ...] = ("right to wrong", "wrong to right", "lower", "higher")
"""Those of which the score changed."""

LOST: tuple[Outcome, ...] = ("right to wrong", "lower")

InTraining = Literal["yes", "no", "not searched"]
"""Whether a question stands in a row that a candidate was trained on, as far as that is known."""

_COUNTED = ("score", "margin", "prompt_hash")
_KEPT = ("prediction", "answer", "logprobs", "response")
_TEXTS = ("prediction", "response")


class FlippedRow(TypedDict):
    """A question that flipped: a row of the table, with what a page needs."""

    question_id: str
    subject: str
    category: str
    outcome: Outcome
    in_training_rows: InTraining
    answer: str | None
    base_score: float
    run_score: float
    base_margin: float | None
    run_margin: float | None
    base_prediction: str | None
    run_prediction: str | None
    base_logprobs: list[float] | None
    run_logprobs: list[float] | None
    base_response: str | None
    run_response: str | None


@dataclass(frozen=True)
class Pairing:
    """What tells rows of a benchmark apart beside the answers.

    Attributes:
        categories: Subject -> its category; empty where there is none but the average.
        found: Question id -> what was found of it in training rows.
        searched: Whether all that was trained on since the base was searched.
        letters: Whether answers are letters of choices.
        texts: Whether rows may hold texts.
    """

    categories: Mapping[str, str]
    found: Mapping[str, FoundQuestion]
    searched: bool
    letters: bool
    texts: bool


def read_answered(categories: Path, scores: Sequence[Path], benchmark: str) -> pa.Table:
    """Return the answers of one candidate that count, with all that is kept of them.

    Args:
        categories: Folder of its category scores.
        scores: Folders of its scoring jobs.
        benchmark: The benchmark's name.

    Returns:
        `question_id`, `subject`, score, margin and hash of the prompt, and prediction, right
        answer, log-probabilities and response, in the order of the scoring jobs.

    Raises:
        ScoreError: An answer that counts is not among those that were kept.
    """
    counted = answers_table(categories, benchmark).select(["question_id", "subject", *_COUNTED])
    columns = ["question_id", *_KEPT]
    kept = pa.concat_tables([read_table(one / QUESTIONS_TABLE, columns) for one in scores])
    kept = _in_order(kept, counted.column("question_id").to_pylist())
    for name in _KEPT:
        counted = counted.append_column(name, kept.column(name))
    return counted


def _in_order(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    """Return the rows of these questions, in their order.

    Raises:
        ScoreError: The table lacks one.
    """
    own = table.column("question_id").to_pylist()
    if own == ids:
        return table
    places = {id_: place for place, id_ in enumerate(own)}
    lacking = [id_ for id_ in ids if id_ not in places]
    if lacking:
        raise ScoreError(
            f"The answer to {lacking[0]} counts, but was not kept ({len(lacking):,} such answers)."
            " Score this benchmark again."
        )
    return table.take(array_of([places[id_] for id_ in ids], pa.int64()))


def paired(base: pa.Table, run: pa.Table, pairing: Pairing) -> pa.Table:
    """Return a row for each question, in the order of the base's answers.

    Args:
        base: From `read_answered`.
        run: The same of what was made of it.
        pairing: Categories, what was found in training rows, and what may be shown.
    """
    ids = base.column("question_id").to_pylist()
    run = _in_order(run, ids)
    rows: dict[str, pa.ChunkedArray | pa.Array] = {
        "question_id": base.column("question_id"),
        "subject": base.column("subject"),
        "category": _categories(base.column("subject"), pairing.categories),
        "outcome": outcome_of_each(*(numbers_of(one.column("score")) for one in (base, run))),
        "in_training_rows": _in_training(base.column("question_id"), pairing),
    }
    hidden = set() if pairing.texts else {"response"}
    if not pairing.texts and not pairing.letters:
        hidden |= {"prediction", "answer"}
    if "answer" not in hidden:
        rows["answer"] = base.column("answer")
    for name in (*_COUNTED, *_KEPT):
        if name != "answer" and name not in hidden:
            rows[f"base_{name}"] = base.column(name)
            rows[f"run_{name}"] = run.column(name)
    return pa.table(rows)


def _categories(subjects: pa.ChunkedArray, categories: Mapping[str, str]) -> pa.Array:
    named = subjects.combine_chunks().dictionary_encode()
    found = [categories.get(subject, subject) for subject in named.dictionary.to_pylist()]
    return array_of(found, pa.string()).take(named.indices)


def outcome_of_each(base: np.ndarray, run: np.ndarray) -> pa.Array:
    """Return what became of each question, with these scores (0 to 1) of base and run."""
    judged = np.isin(base, (0, 1)) & np.isin(run, (0, 1))
    which: list[tuple[np.ndarray, Outcome]] = [
        (judged & (base == 1) & (run == 1), "stayed right"),
        (judged & (base == 0) & (run == 0), "stayed wrong"),
        (judged & (base == 1), "right to wrong"),
        (judged, "wrong to right"),
        (base == run, "as good"),
        (run > base, "higher"),
    ]
    lower: Outcome = "lower"
    found = np.select([where for where, _ in which], range(len(which)), len(which))
    names = [*(name for _, name in which), lower]
    return array_of(names, pa.string()).take(array_of(found.tolist(), pa.int64()))


def flipped(rows: pa.Table) -> list[FlippedRow]:
    """Return the rows of questions whose score changed; a column that was left out is None."""
    places = [
        place for place, one in enumerate(rows.column("outcome").to_pylist()) if one in FLIPPED
    ]
    table = rows.take(array_of(places, pa.int64()))
    lacking: dict[str, None] = dict.fromkeys(
        FlippedRow.__annotations__.keys() - set(rows.column_names)
    )
    return [FlippedRow(**{**lacking, **row}) for row in table.to_pylist()]  # type: ignore[typeddict-item]


def outcomes(rows: pa.Table) -> dict[Outcome, int]:
    """Return how many questions had each outcome, without those that none had."""
    found = rows.column("outcome").to_pylist()
    return {one: count for one in get_args(Outcome) if (count := found.count(one))}


def _in_training(ids: pa.ChunkedArray, pairing: Pairing) -> pa.ChunkedArray:
    found = pc.is_in(ids, array_of(list(pairing.found), pa.string()))
    yes: InTraining = "yes"
    other: InTraining = "no" if pairing.searched else "not searched"
    return pc.if_else(found, yes, other)

"""The answers that count behind a score, as columns: two hundred candidates fit into memory.

`aggregate_scores` keeps them; comparisons read them.
"""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scripts.lib.data.parquet import array_of, read_table, spare_pandas

SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("subject", pa.string()),
        ("score", pa.float64()),
        ("prompt_hash", pa.string()),
        ("token_hash", pa.string()),
        ("margin", pa.float64()),
    ]
)
"""Of the file of answers. What the columns are is told by `aggregation.ScoredAnswer`."""


class Scores(NamedTuple):
    """What some answers were worth, in the order of question ids.

    Attributes:
        values: Score of each answer, float64.
        margins: Log-probability (nats) of the right choice less that of the likeliest other one,
            float64; None where one of the answers has none.
    """

    values: np.ndarray
    margins: np.ndarray | None


@dataclass(frozen=True)
class Answers:
    """Answers to some questions.

    Attributes:
        table: A row for each in the order of question ids, with the columns of SCHEMA.
    """

    table: pa.Table

    @functools.cached_property
    def ids(self) -> list[str]:
        """Ids of the questions."""
        ids: list[str] = self.table["question_id"].to_pylist()
        return ids

    @functools.cached_property
    def _numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Score and margin of every answer; NaN is no margin."""
        return numbers_of(self.table["score"]), numbers_of(self.table["margin"])

    @property
    def all(self) -> Scores:
        """All of them."""
        return _scores(*self._numbers)

    @functools.cached_property
    def _subjects(self) -> tuple[dict[str, int], np.ndarray]:
        """Number of each subject, and that of every answer's."""
        encoded = self.table["subject"].combine_chunks().dictionary_encode()
        names = {name: number for number, name in enumerate(encoded.dictionary.to_pylist())}
        return names, numbers_of(encoded.indices)

    def of(self, subjects: Collection[str]) -> Scores:
        """Return the scores of some subjects' answers."""
        numbers, own = self._subjects
        values, margins = self._numbers
        kept = np.isin(own, [numbers[name] for name in subjects if name in numbers])
        return _scores(values[kept], margins[kept])

    def in_subjects(self, subjects: Collection[str]) -> "Answers":
        """Return the answers of some subjects alone."""
        wanted = array_of(sorted(subjects), pa.string())
        return Answers(self.table.filter(pc.is_in(self.table["subject"], wanted)))


def _scores(values: np.ndarray, margins: np.ndarray) -> Scores:
    return Scores(values, None if np.isnan(margins).any() else margins)


def numbers_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers; null is NaN."""
    spare_pandas()
    numbers: np.ndarray = column.to_numpy(zero_copy_only=False)
    return numbers


def answers_file(benchmark: str) -> str:
    """Return the name of the file of answers in a folder of category scores."""
    return f"{benchmark}.answers.parquet"


def answers_table(folder: Path, benchmark: str) -> pa.Table:
    """Return the answers in the order of the scoring jobs.

    Args:
        folder: Where `aggregate_scores` wrote them.
        benchmark: The benchmark's name.
    """
    return read_table(folder / answers_file(benchmark))


def read_answers(folder: Path, benchmark: str) -> Answers:
    """Return the answers in the order of question ids; arguments as for `answers_table`."""
    return Answers(answers_table(folder, benchmark).sort_by("question_id"))

"""The rows behind the pages as files: Parquet and CSV, with the ids that scores have.

    rows/<benchmark>/<run>.{parquet,csv}     a row for each question: both answers
    rows/<benchmark>.questions.{parquet,csv} a row for each question: what it says

What questions say stands there once, whatever is compared; `question_id` joins the two.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from scripts.lib.data.parquet import array_of, table_of
from scripts.lib.report.asked import AskedQuestion

FOLDER = "rows"

_QUESTIONS = pa.schema(
    [
        ("question_id", pa.string()),
        ("subject", pa.string()),
        ("question", pa.string()),
        ("choices", pa.list_(pa.string())),
    ]
)


def write_rows(rows: pa.Table, out: Path, benchmark: str, run: str) -> None:
    """Write the rows of a run beside its base.

    Args:
        rows: From `flips.paired`.
        out: The report's folder.
        benchmark: Name of the benchmark.
        run: Name of the candidate.
    """
    _write(rows, out / FOLDER / benchmark / run)


def write_questions(questions: Iterable[AskedQuestion], out: Path, benchmark: str) -> None:
    """Write what the questions of a benchmark say.

    Args:
        questions: Those that were asked.
        out: The report's folder.
        benchmark: Name of the benchmark.
    """
    rows = [
        {
            "question_id": one.id,
            "subject": one.subject,
            "question": one.text,
            "choices": [choice.text for choice in one.choices],
        }
        for one in questions
    ]
    _write(table_of(rows, _QUESTIONS), out / FOLDER / f"{benchmark}.questions")


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, f"{path}.parquet")
    pyarrow.csv.write_csv(_flat(table), f"{path}.csv")


def _flat(table: pa.Table) -> pa.Table:
    """Return a table with lists as JSON, since a CSV has none."""
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = _as_json(table.column(place).combine_chunks())
            table = table.set_column(place, field.name, texts)
    return table


def _as_json(lists: pa.ListArray) -> pa.Array:
    """Return lists as JSON: numbers all at once, which millions of log-probabilities need."""
    if pa.types.is_floating(lists.type.value_type):
        numbers = lists.flatten()
        if not numbers.null_count and pc.all(pc.is_finite(numbers)).as_py() is not False:
            texts = pc.cast(lists, pa.list_(pa.string()))
            return pc.binary_join_element_wise("[", pc.binary_join(texts, ", "), "]", "")
    written = [
        None if one is None else json.dumps(one, ensure_ascii=False) for one in lists.to_pylist()
    ]
    return array_of(written, pa.string())

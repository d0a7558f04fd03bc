"""The answers behind a score, as columns."""

import pyarrow.parquet as pq

from scripts.lib.data.parquet import table_of
from scripts.lib.score.answers import SCHEMA, Answers, read_answers

ROWS = [
    {"question_id": f"{subject}:{n}", "subject": subject, "score": score, "margin": margin}
    for subject, n, score, margin in (
        ("virology", 1, 1.0, 0.5),
        ("anatomy", 10, 0.0, -2.0),
        ("virology", 0, 0.0, -0.25),
        ("anatomy", 9, 1.0, 3.0),
    )
]


def test_answers_are_read_in_the_order_of_the_ids_whatever_wrote_them(tmp_path):
    for order in (ROWS, ROWS[::-1]):
        pq.write_table(table_of(order, SCHEMA), tmp_path / "mmlu.answers.parquet")
        found = read_answers(tmp_path, "mmlu")
        assert found.ids == ["anatomy:10", "anatomy:9", "virology:0", "virology:1"]
        assert found.all.values.tolist() == [0.0, 1.0, 0.0, 1.0]
        assert found.all.margins.tolist() == [-2.0, 3.0, -0.25, 0.5]


def test_the_scores_of_subjects_are_those_of_their_own_answers():
    answers = Answers(table_of(ROWS, SCHEMA))
    assert answers.of(("virology",)).values.tolist() == [1.0, 0.0]
    assert answers.of(("virology", "anatomy")).margins.tolist() == [0.5, -2.0, -0.25, 3.0]
    assert answers.of(("sociology",)).values.tolist() == []
    assert answers.in_subjects({"anatomy"}).ids == ["anatomy:10", "anatomy:9"]


def test_one_answer_without_a_margin_leaves_none_of_its_own_subjects_with_one():
    answers = Answers(table_of([*ROWS, {**ROWS[0], "margin": None}], SCHEMA))
    assert answers.all.margins is None
    assert answers.of(("virology",)).margins is answers.of(("anatomy", "virology")).margins is None
    assert answers.of(("anatomy",)).margins.tolist() == [-2.0, 3.0]

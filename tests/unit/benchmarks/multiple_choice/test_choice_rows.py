"""Properties of a user's own multiple-choice rows: read with certainty, or named as bad."""

import json

import pandas as pd
import pytest

from scripts.lib.benchmarks.multiple_choice.plan import missing_columns
from scripts.lib.benchmarks.multiple_choice.rows import sort_choices
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.files import sha256_of
from scripts.lib.questions.bad_rows import what_stops
from tests.unit.scoring_data import write_rows

ROWS = [
    {"question": "Which is a fruit?", "choices": ["stone", "pear"], "answer": "B"},
    {"question": "Which is red?", "choices": ["sky", "sea", "blood"], "answer": "blood"},
    {"question": "Which is hot?", "choices": ["ice", "sun", "moon", "sea"], "answer": 1},
]
READ = [1, 2, 1]


def read_choices(path, *, answers, category):
    """Return the rows of a file that has to be good."""
    rows = sort_choices(path, answers=answers, category=category)
    if text := what_stops([rows], "error"):
        raise ConfigError(text)
    return rows.good


def read(tmp_path, rows, *, answers="auto", category=None):
    return read_choices(
        write_rows(tmp_path / "own.jsonl", rows), answers=answers, category=category
    )


def fault_of(tmp_path, row, **options):
    rows = [*ROWS, row]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, rows, **options)
    return str(caught.value)


def test_letters_places_and_texts_name_the_same_choice(tmp_path):
    found = read(tmp_path, ROWS)
    assert [row["answer"] for row in found] == READ
    assert [len(row["choices"]) for row in found] == [2, 3, 4]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
@pytest.mark.parametrize("lettered", [True, False])
def test_every_format_and_both_ways_to_write_choices_give_the_same_rows(tmp_path, suffix, lettered):
    rows = [dict(row, answer=str(row["answer"])) for row in ROWS]
    if lettered:
        for row in rows:
            row |= dict(zip("ABCD", row.pop("choices"), strict=False))
    elif suffix == "csv":
        for row in rows:
            row["choices"] = json.dumps(row["choices"])
    path = tmp_path / f"own.{suffix}"
    frame = pd.DataFrame(rows)
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        path.write_text(json.dumps(rows))
    assert read_choices(path, answers="auto", category=None) == read(tmp_path, ROWS)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"question": " "}, "has no text in `question`"),
        ({"choices": ["one"]}, "needs 2 to 26 choices"),
        ({"choices": "one, two"}, "has no list in `choices`"),
        ({"choices": {"text": ["one", "two"], "label": ["A", "B"]}}, "has no list in `choices`"),
        ({"choices": ["one", ""]}, "has no text in choice B"),
        ({"choices": ["one", None]}, "has no text in choice B"),
        (
            {"choices": ["ice", "sun", "sun "], "answer": "sun"},
            "has 'sun' in `answer`, which is the text of B and C; a letter would say which",
        ),
        ({"answer": None}, "has neither text nor a whole number in `answer`"),
        ({"answer": True}, "has neither text nor a whole number in `answer`"),
        ({"answer": 4}, "has '4' in `answer`, which is none of its 4 choices"),
        ({"answer": "E"}, "has 'E' in `answer`, which is none of its 4 choices"),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_number_and_fault(tmp_path, changes, fault):
    text = fault_of(tmp_path, ROWS[2] | changes)
    assert text.startswith("1 of 4 rows is no question:")
    assert f"{tmp_path / 'own.jsonl'}:4 {fault}" in text


@pytest.mark.parametrize("answer", ["A", "B", "C", 1, "pear"])
def test_equal_choices_are_a_question_like_any_other_where_the_answer_says_which(tmp_path, answer):
    row = {"question": "Which?", "choices": ["stone", "stone", "pear"], "answer": answer}
    (found,) = read(tmp_path, [row], answers="auto" if answer != 1 else "index_from_0")
    assert found["choices"] == ["stone", "stone", "pear"]
    assert found["answer"] == {"A": 0, "B": 1, "C": 2, 1: 1, "pear": 2}[answer]


def test_a_gap_between_lettered_choices_is_a_bad_row_and_empty_cells_at_the_end_are_not(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("question,A,B,C,answer\nq,1,2,,A\nq,1,,3,A\n")
    with pytest.raises(ConfigError, match=r"own\.csv:3 has no text in choice B"):
        read_choices(path, answers="auto", category=None)


def test_all_bad_rows_come_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)30 of 33 .*:4 .*:23 .*and 10 more") as caught:
        read(tmp_path, [*ROWS, *([ROWS[0] | {"answer": "Z"}] * 30)])
    assert ":24 " not in str(caught.value)


def test_a_row_that_is_no_json_is_named(tmp_path):
    (tmp_path / "own.jsonl").write_text(json.dumps(ROWS[0]) + "\n{\n")
    with pytest.raises(ConfigError, match=r"own\.jsonl:2 cannot be read: line 2"):
        read_choices(tmp_path / "own.jsonl", answers="auto", category=None)


def test_an_answer_with_two_readings_is_never_guessed(tmp_path):
    numbers = ROWS[0] | {"choices": ["2", "1", "0"], "answer": "1"}
    assert read(tmp_path, [*ROWS, numbers])[-1]["answer"] == 1  # place 1 and text "1" agree
    twofold = numbers | {"answer": "0"}
    assert "read as text and as index_from_0" in fault_of(tmp_path, twofold)
    letters = ROWS[0] | {"choices": ["B", "A"], "answer": "A"}
    assert "read as text and as letter" in fault_of(tmp_path, letters)
    assert read(tmp_path, [letters], answers="text")[0]["answer"] == 1
    assert read(tmp_path, [letters], answers="letter")[0]["answer"] == 0


def test_places_that_may_count_from_1_are_asked_about(tmp_path):
    rows = [ROWS[2] | {"answer": answer} for answer in (1, 3, 2)]
    with pytest.raises(ConfigError, match="may count from 1"):
        read(tmp_path, rows)
    for answers, expected in (("index_from_1", [0, 2, 1]), ("index_from_0", [1, 3, 2])):
        assert [row["answer"] for row in read(tmp_path, rows, answers=answers)] == expected
    assert [row["answer"] for row in read(tmp_path, [*rows, ROWS[2] | {"answer": 0}])][-1] == 0


@pytest.mark.parametrize("answer", ["", None, "E", 4, 9])
def test_a_bad_row_does_not_hide_that_places_may_count_from_1(tmp_path, answer):
    """Else leaving it out would leave every other answer one place off."""
    rows = [ROWS[2] | {"answer": given} for given in (1, 3, answer, 2)]
    with pytest.raises(ConfigError, match="may count from 1"):
        sort_choices(write_rows(tmp_path / "a.jsonl", rows), answers="auto", category=None)


def test_missing_columns_are_said_in_words():
    assert missing_columns(["question", "choices", "answer"], None) == []
    assert missing_columns(["question", "A", "B", "answer", "field"], "field") == []
    assert missing_columns(["prompt", "A"], "field") == [
        "question",
        "answer",
        "choices (or A, B, ...)",
        "field",
    ]


def fetch(tmp_path, rows, *, solved=None, **changes):
    """Fetch a set with a category in `field`; return file -> its rows."""
    places = {"test.jsonl": write_rows(tmp_path / "in/test.jsonl", rows)}
    if solved is not None:
        places = {"shots.jsonl": write_rows(tmp_path / "in/shots.jsonl", solved)} | places
    spec = {
        "source": "path",
        "kind": "multiple_choice",
        "files": {name: sha256_of(place) for name, place in places.items()},
        "answers": "auto",
        "category": "field",
        "shots": int(solved is not None),
        "shots_category": "field",
    }
    out = tmp_path / "out"
    out.mkdir()
    fetch_benchmark(spec | changes, list(places.values()), out)
    return {
        path.relative_to(out).as_posix(): [
            json.loads(line) for line in path.read_text().splitlines()
        ]
        for path in out.rglob("*.jsonl")
    }


def with_fields(*fields):
    return [row | {"field": field} for row, field in zip(ROWS, fields, strict=True)]


def test_each_category_has_its_questions_and_its_own_examples(tmp_path):
    rows = with_fields("법학 / law", "art", "art")
    found = fetch(tmp_path, rows, solved=rows)
    assert sorted(found) == [
        "dev/art.jsonl",
        "dev/법학_law.jsonl",
        "test/art.jsonl",
        "test/법학_law.jsonl",
    ]
    assert [row["question"] for row in found["test/art.jsonl"]] == [
        "Which is red?",
        "Which is hot?",
    ]
    assert found["dev/art.jsonl"] == found["test/art.jsonl"][:1]
    assert found["test/법학_law.jsonl"][0]["subject"] == "법학 / law"


def test_examples_without_a_category_are_shown_to_all(tmp_path):
    rows = with_fields("law", "art", "art")
    found = fetch(tmp_path, rows, solved=ROWS, shots_category=None)
    assert found["dev/art.jsonl"] == found["dev/law.jsonl"]


def test_too_few_examples_of_a_category_are_noticed_before_any_model(tmp_path):
    rows = with_fields("law", "art", "art")
    with pytest.raises(ConfigError, match=r"shots\.jsonl holds 0 questions of law, but 1 shots"):
        fetch(tmp_path, rows, solved=rows[1:])


@pytest.mark.parametrize("fields", [("C+", "C-", "x"), ("Average", "b", "c"), ("//", "b", "c")])
def test_categories_that_would_share_a_file_are_refused(tmp_path, fields):
    with pytest.raises(ConfigError, match="cannot name a file of its own"):
        fetch(tmp_path, with_fields(*fields))


def test_a_file_that_changed_after_planning_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="changed while it was planned"):
        fetch(tmp_path, with_fields("a", "b", "c"), files={"test.jsonl": "0" * 64})

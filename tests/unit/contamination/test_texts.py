"""The texts of questions: the ids of the scores, and neither choices nor frames nor examples."""

import json

import pytest

from scripts.lib.benchmarks.kinds import MODULES, load
from scripts.lib.benchmarks.lm_eval.texts import without_frame


def texts(kind, folder, subject=None):
    return [tuple(one) for one in load("find_contamination", kind).texts(folder, subject)]


def lines(place, *rows):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))


def choice(text, **more):
    return {"question": text, "choices": ["x", "y", "z", "w"], "answer": 1, **more}


def test_mmlu_s_questions_have_the_ids_of_its_scores(tmp_path):
    lines(tmp_path / "test/law.jsonl", choice("a"), choice("b"))
    lines(tmp_path / "test/art.jsonl", choice("c"))
    lines(tmp_path / "dev/art.jsonl", choice("shown"))
    assert texts("mmlu", tmp_path) == [
        ("art:0", "art", "c"),
        ("law:0", "law", "a"),
        ("law:1", "law", "b"),
    ]


def test_own_choices_have_their_category_as_subject(tmp_path):
    lines(tmp_path / "test/fine_art.jsonl", choice("a", subject="Fine art"))
    lines(tmp_path / "test/questions.jsonl", choice("b"))
    assert texts("multiple_choice", tmp_path) == [
        ("fine_art:0", "Fine art", "a"),
        ("questions:0", "questions", "b"),
    ]


@pytest.mark.parametrize(
    ("kind", "subject"), [("exact_match", "questions"), ("judged_pairs", "prompts")]
)
def test_of_several_turns_the_last_of_the_user_is_the_question(tmp_path, kind, subject):
    turns = [("system", "Be brief."), ("user", "Hi."), ("assistant", "Hi!"), ("user", "What now?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    rows = [{"prompt": "a", "system": "s"}, {"messages": messages}]
    lines(tmp_path / "questions.jsonl", *({**row, "answer": "c"} for row in rows))
    found = texts(kind, tmp_path)
    assert found == [(f"{subject}:0", subject, "a"), (f"{subject}:1", subject, "What now?")]


def test_the_frame_of_a_task_is_no_part_of_its_questions():
    asked = [f"{letter} or {letter * 2}?" for letter in "abcdefghijkl"]
    framed = [f"Answer briefly.\n\nQuestion: {text}\nAnswer:" for text in asked]
    assert without_frame(framed) == asked


def test_few_questions_that_begin_alike_stay_as_they_are():
    assert without_frame(["Who is it?", "Who was it?"]) == ["Who is it?", "Who was it?"]
    assert without_frame([]) == []


def test_equal_questions_do_not_vanish_into_their_frame():
    assert without_frame(["Q: same? A:"] * 12) == ["Q: same? A:"] * 12


def test_every_kind_says_what_its_questions_are():
    for kind in MODULES:
        assert load("find_contamination", kind).texts

"""What the pages of flipped questions show of lm-eval's tasks."""

import pytest

from scripts.lib.benchmarks.kinds import load
from tests.unit.lm_eval_data import fetch, write_data


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    fetch(folder / "out", ("gsm8k", "arc_easy", "winogrande"), data=write_data(folder / "data"))
    return load("write_report", "lm_eval").asked(folder / "out", None)


def test_questions_have_the_ids_of_the_scores_and_their_choices_where_there_are_any(shown):
    assert "How much is 2 and 2?" in shown.questions["gsm8k:2"].text
    assert shown.questions["gsm8k:2"].choices == ()
    easy = shown.questions["arc_easy:4"]
    assert "Which of these is number 4?" in easy.text and "apples" not in easy.text
    assert [choice.text for choice in easy.choices] == ["apples", "bread", "chairs"]


def test_choices_that_stand_in_front_are_whole_and_the_question_is_what_follows(shown):
    question = shown.questions["winogrande:0"]
    assert len(question.choices) == 2
    assert all("hid the box" not in question.text for _ in question.choices)
    assert question.choices[0].text != question.choices[1].text


def test_a_question_holds_no_example(shown):
    assert "How much is 1" not in shown.questions["gsm8k:2"].text

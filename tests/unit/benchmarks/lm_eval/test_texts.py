"""What is looked for in training rows of lm-eval's tasks: questions, without choices and frames."""

from pathlib import Path

import pytest

from scripts.lib.benchmarks.kinds import load
from tests.unit.lm_eval_data import fetch, write_data

TASKS = ("gsm8k", "arc_easy", "hellaswag", "winogrande", "truthfulqa_mc1")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """Return task -> the id and the text of each question."""
    folder: Path = tmp_path_factory.mktemp("tasks")
    fetch(folder / "out", TASKS, data=write_data(folder / "data"))
    found: dict[str, list[tuple[str, str]]] = {}
    for one in load("find_contamination", "lm_eval").texts(folder / "out", None):
        found.setdefault(one.subject, []).append((one.id, one.text))
    return found


def test_every_task_has_its_questions_with_the_ids_of_the_scores(texts):
    assert set(texts) == set(TASKS)
    assert [id_ for id_, _ in texts["gsm8k"]] == ["gsm8k:0", "gsm8k:1", "gsm8k:2"]


def test_a_question_has_neither_its_answer_nor_examples_nor_choices(texts):
    assert "How much is 2 and 2?" in texts["gsm8k"][2][1]
    assert "####" not in texts["gsm8k"][2][1]
    assert "How much is 1" not in texts["gsm8k"][2][1]
    assert "Which of these is number 4?" in texts["arc_easy"][4][1]
    assert "apples" not in texts["arc_easy"][4][1]
    assert "eats" not in texts["hellaswag"][0][1]


def test_a_task_that_names_what_is_to_be_looked_for_is_taken_at_its_word(texts):
    assert texts["truthfulqa_mc1"][1][1] == "What are bread?"
    assert texts["winogrande"][0][1].startswith("The apples hid the box since")

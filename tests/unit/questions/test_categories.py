"""Properties of the category maps."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from scripts.lib.errors import ScoreError
from scripts.lib.questions.categories import (
    AVERAGE,
    CATEGORY_MAPS,
    CATEGORY_ORDER,
    category_of,
    group_subjects,
)
from scripts.lib.questions.category_names import file_name

ALL = tuple(CATEGORY_MAPS["hendrycks"])


def test_each_of_the_57_subjects_has_exactly_one_category_in_every_map():
    for name in ("hendrycks", "lm-eval"):
        mapping = CATEGORY_MAPS[name]
        assert len(mapping) == 57
        assert set(mapping) == set(ALL)
        assert set(mapping.values()) == set(CATEGORY_ORDER[1:])


@pytest.mark.parametrize(("name", "subjects"), [("cmmlu", 67), ("ceval", 52)])
def test_the_chinese_sets_have_all_their_subjects_each_in_one_of_the_categories(name, subjects):
    """67 subjects in CMMLU's paper, 52 in C-Eval's."""
    assert len(CATEGORY_MAPS[name]) == subjects
    assert set(CATEGORY_MAPS[name].values()) == set(CATEGORY_ORDER[1:])


def test_subjects_of_another_set_are_answered_with_its_map():
    with pytest.raises(ScoreError, match=r"agronomy: none of MMLU's 57.*`categories: cmmlu`"):
        category_of("agronomy", "hendrycks")
    with pytest.raises(ScoreError, match=r"law: none of CMMLU's 67.*`categories: ceval`"):
        category_of("law", "cmmlu")


def test_the_paper_counts_18_stem_12_social_13_humanities_and_14_other_subjects():
    counts = Counter(CATEGORY_MAPS["hendrycks"].values())
    assert counts == {"STEM": 18, "Social Sciences": 12, "Humanities": 13, "Other": 14}


def test_the_maps_differ_in_anatomy_only():
    hendrycks, lm_eval = CATEGORY_MAPS["hendrycks"], CATEGORY_MAPS["lm-eval"]
    assert {s for s in ALL if hendrycks[s] != lm_eval[s]} == {"anatomy"}
    assert hendrycks["anatomy"] == "Other"
    assert lm_eval["anatomy"] == "STEM"


def test_the_map_agrees_with_the_published_rows():
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA does not name a folder with mmlu/categories.json")
    published = json.loads((Path(folder) / "mmlu" / "categories.json").read_text())
    assert dict(CATEGORY_MAPS["hendrycks"]) == published


def test_the_lm_eval_map_agrees_with_the_installed_task_tags():
    import importlib.util

    package = importlib.util.find_spec("lm_eval")
    assert package is not None
    folder = Path(package.submodule_search_locations[0]) / "tasks" / "mmlu" / "default"
    for subject in ALL:
        text = (folder / f"mmlu_{subject}.yaml").read_text()
        tag = next(line for line in text.splitlines() if line.startswith('"tag"'))
        category = file_name(CATEGORY_MAPS["lm-eval"][subject])
        assert tag == f'"tag": "mmlu_{category}_tasks"', subject


def test_groups_come_in_display_order_and_empty_categories_are_left_out():
    groups = group_subjects(["virology", "astronomy"], "hendrycks")
    assert list(groups) == [AVERAGE, "STEM", "Other"]
    assert groups[AVERAGE] == ("astronomy", "virology")


def test_without_a_map_there_is_only_the_average():
    assert group_subjects(["botany"], "none") == {AVERAGE: ("botany",)}


def test_an_unknown_subject_or_map_is_refused_with_the_remedy():
    with pytest.raises(ScoreError, match=r"botany: none of MMLU's 57.*kind: multiple_choice"):
        category_of("botany", "hendrycks")
    with pytest.raises(ScoreError, match="hendrycks, lm-eval, cmmlu, ceval, column, none"):
        category_of("anatomy", "paper")

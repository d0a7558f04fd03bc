"""The names of a budget are held against what benchmarks measure, before any job."""

import pytest

from scripts.lib.errors import ConfigError
from tests.unit.plan.test_base_templates import (
    DOMAIN,
    PLAIN,
    RUN,
    home,  # noqa: F401  a fixture
    planned,
)
from tests.unit.scoring_data import write_rows

FOUR = {"question": "Which?", "choices": ["1", "2", "3", "4"], "answer": 1}
MODEL = {"path": "base", "template": "chatml"}
MMLU = {"kind": "mmlu", "path": "mmlu", "shots": 0}


def with_budget(home, benchmark, *measures):  # noqa: F811
    """Plan a run on one benchmark, with margins for its measures."""
    report = {"budget": {"b": dict.fromkeys(measures, -1.0)}}
    return planned(home, {"b": benchmark}, runs={"r": RUN}, model=MODEL, report=report)


@pytest.fixture
def mmlu(home):  # noqa: F811
    for subject in ("anatomy", "astronomy", "philosophy"):
        write_rows(home / f"mmlu/test/{subject}.jsonl", [FOUR])
    return home


def test_categories_and_subjects_that_will_be_measured_are_taken(mmlu):
    with_budget(mmlu, MMLU, "average", "STEM", "Humanities", "Other", "astronomy")


def test_categories_of_rows_of_ones_own_are_read(home):  # noqa: F811
    rows = [{"question": "?", "choices": ["1", "2"], "answer": "A", "area": a} for a in "xyx"]
    write_rows(home / "own.jsonl", rows)
    own = {"kind": "multiple_choice", "path": "own.jsonl", "category_column": "area"}
    with_budget(home, own, "average", "x", "y")
    with pytest.raises(ConfigError, match=r"budget\.b: 'z' is no measure; .*: average, x, y"):
        with_budget(home, own, "z")
    write_rows(home / "pairs.jsonl", [{"prompt": "Hi", "category": "greeting"}, {"prompt": "Bye"}])
    judged = {"kind": "judged_pairs", "path": "pairs.jsonl", "judge": {"model": "base"}}
    with_budget(home, judged, "average", "greeting")
    with pytest.raises(ConfigError, match=r"'greetings' is no measure; did you mean 'greeting'\?"):
        with_budget(home, judged, "greetings")


@pytest.mark.parametrize(
    ("benchmark", "measure", "said"),
    [
        (MMLU, "Humanites", "'Humanites' is no measure; did you mean 'Humanities'? "),
        (MMLU, "Average", "'Average' is no measure; did you mean 'average'? "),
        # No subject of this category is asked.
        (MMLU, "Social Sciences", "measures are: average, STEM, Humanities, Other, anatomy,"),
        (MMLU | {"subjects": ["anatomy"]}, "STEM", "measures are: average, Other"),
        (MMLU, "perplexity", "'perplexity' is no measure; "),
        (DOMAIN, "average", "measures are: perplexity, stops, format, language"),
        (DOMAIN, "perplexty", "did you mean 'perplexity'? "),
        (PLAIN, "accuracy", "measures are: average"),
    ],
)
def test_a_name_that_will_not_be_measured_is_refused_with_a_proposal(
    mmlu, benchmark, measure, said
):
    with pytest.raises(ConfigError) as error:
        with_budget(mmlu, benchmark, measure)
    assert str(error.value).startswith("report.budget.b: ") and said in str(error.value)


def test_the_check_of_a_budget_waits_for_the_report_and_reads_the_comparison(mmlu):
    graph = with_budget(mmlu, MMLU, "average")
    check = graph.artifacts[graph.budget]
    assert check.reads["comparison"] == graph.artifacts[graph.report].reads["comparison"]
    assert check.knows["report"] == (graph.report,)
    assert graph.targets == [graph.report, graph.budget]
    without = planned(mmlu, {"b": MMLU}, runs={"r": RUN}, model=MODEL)
    assert without.targets == [without.report]
    assert not [id for id in without.artifacts if id.startswith("budgets/")]

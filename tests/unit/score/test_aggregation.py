"""Properties of category scores."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from scripts.lib.benchmarks.multiple_choice.scores import AsScored
from scripts.lib.errors import ScoreError
from scripts.lib.score.aggregation import (
    AggregateSpec,
    ScoredAnswer,
    aggregate_scores,
    prompt_set,
    tally,
)
from scripts.lib.score.answers import answers_table
from scripts.lib.score.scoring import write_provenance

PROTOCOL = {"kind": "mmlu", "shots": 5, "dtype": "float32"}


MADE_OF = {"model": "ab12", "benchmark": "cd34"}


def write_score(folder: Path, subjects: dict[str, list[bool]], **protocol) -> Path:
    """Write the files of a scoring job with the given answers, right or wrong, per subject."""
    folder.mkdir(parents=True)
    answers = [
        {
            "question_id": f"{subject}:{index}",
            "subject": subject,
            "prediction": "A",
            "answer": "A" if correct else "B",
            "correct": correct,
            "logprobs": [-0.1, -2.6, -9.0],
            "prompt_hash": f"{subject}{index}",
            "token_hash": f"t{subject}{index}",
        }
        for subject, values in subjects.items()
        for index, correct in enumerate(values)
    ]
    pd.DataFrame(answers).to_parquet(folder / "questions.parquet")
    (folder / "protocol.json").write_text(json.dumps(PROTOCOL | protocol))
    write_provenance(MADE_OF, {"lm-eval": "0.4"}, folder)
    return folder


def judged(question_id, prompt_hash):
    subject = question_id.partition(":")[0]
    return ScoredAnswer(
        question_id=question_id,
        subject=subject,
        score=1.0,
        prompt_hash=prompt_hash,
        token_hash="t",
        margin=None,
    )


def spec(**changes):
    return AggregateSpec(
        **{
            "kind": "mmlu",
            "benchmark": "mmlu",
            "categories": "hendrycks",
            "subjects": None,
            "metric": None,
        }
        | changes
    )


@pytest.fixture
def scores(tmp_path):
    return [
        write_score(tmp_path / "stem", {"astronomy": [True] * 8 + [False] * 2}),
        write_score(tmp_path / "anatomy", {"anatomy": [True, False]}),
        write_score(tmp_path / "social", {"sociology": [False, False, True]}),
    ]


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_the_average_is_over_questions_not_over_categories(scores, out):
    tallies = aggregate_scores(spec(), scores, out, AsScored())
    average = json.loads((out / "mmlu.average.json").read_text())
    assert (average["n"], average["correct"]) == (15, 10)
    assert average["accuracy"] == pytest.approx(10 / 15)
    means = [tallies[name]["accuracy"] for name in ("STEM", "Social Sciences", "Other")]
    assert sum(means) / 3 != pytest.approx(10 / 15)


def test_the_files_are_those_of_the_how_to_and_empty_categories_have_none(scores, out):
    tallies = aggregate_scores(spec(), scores, out, AsScored())
    assert list(tallies) == ["Average", "STEM", "Social Sciences", "Other"]
    assert sorted(path.name for path in out.iterdir()) == [
        "mmlu.answers.parquet",
        "mmlu.average.json",
        "mmlu.other.json",
        "mmlu.social_sciences.json",
        "mmlu.stem.json",
    ]


def test_a_category_file_says_all_that_is_needed_to_trust_it(scores, out):
    aggregate_scores(spec(), scores, out, AsScored())
    document = json.loads((out / "mmlu.stem.json").read_text())
    assert document["category"] == "STEM" and document["category_map"] == "hendrycks"
    assert document["protocol"] == PROTOCOL | {"fewer_shots": 0}
    assert document["stderr"] == pytest.approx(math.sqrt(0.8 * 0.2 / 9))
    assert document["subjects"] == {
        "astronomy": {
            "n": 10,
            "correct": 8,
            "accuracy": 0.8,
            "stderr": pytest.approx(math.sqrt(0.8 * 0.2 / 9)),
        }
    }
    assert len(document["prompt_set"]) == 64
    assert (document["made_of"], document["versions"]) == (MADE_OF, {"lm-eval": "0.4"})


def test_the_category_map_moves_anatomy_and_leaves_the_average(scores, out, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    hendrycks = aggregate_scores(spec(), scores, out, AsScored())
    lm_eval = aggregate_scores(spec(categories="lm-eval"), scores, other, AsScored())
    assert hendrycks["Average"] == lm_eval["Average"]
    assert hendrycks["STEM"]["n"] == 10 and lm_eval["STEM"]["n"] == 12
    assert "Other" in hendrycks and "Other" not in lm_eval


def test_without_categories_there_is_one_file(tmp_path, out):
    scores = [write_score(tmp_path / "orders", {"orders": [True, False]})]
    tallies = aggregate_scores(spec(benchmark="orders", categories="none"), scores, out, AsScored())
    assert list(tallies) == ["Average"]
    assert [path.name for path in out.glob("*.json")] == ["orders.average.json"]


def test_the_order_of_the_jobs_changes_no_number(scores, out, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    aggregate_scores(spec(), scores, out, AsScored())
    aggregate_scores(spec(), scores[::-1], other, AsScored())
    for path in out.glob("*.json"):
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_subjects_can_be_restricted_but_not_invented(scores, out):
    tallies = aggregate_scores(spec(subjects=("anatomy",)), scores, out, AsScored())
    assert tallies["Average"]["n"] == 2
    with pytest.raises(ScoreError, match="lack the subjects virology"):
        aggregate_scores(spec(subjects=("anatomy", "virology")), scores, out, AsScored())


def test_the_answers_that_count_are_kept_in_the_order_of_the_jobs(scores, out):
    aggregate_scores(spec(), scores[::-1], out, AsScored())
    answers = answers_table(out, "mmlu").to_pylist()
    assert [answer["subject"] for answer in answers] == [
        *["sociology"] * 3,
        *["anatomy"] * 2,
        *["astronomy"] * 10,
    ]
    assert answers[2] == {
        "question_id": "sociology:2",
        "subject": "sociology",
        "score": 1.0,
        "prompt_hash": "sociology2",
        "token_hash": "tsociology2",
        "margin": 2.5,
    }
    average = json.loads((out / "mmlu.average.json").read_text())
    assert tally([answer["score"] for answer in answers])["accuracy"] == average["accuracy"]
    assert prompt_set(answers) == average["prompt_set"]


def test_answers_of_subjects_that_are_not_asked_for_are_not_kept(scores, out):
    aggregate_scores(spec(subjects=("anatomy",)), scores, out, AsScored())
    kept = answers_table(out, "mmlu")["question_id"].to_pylist()
    assert kept == ["anatomy:0", "anatomy:1"]


def test_a_question_scored_twice_is_refused(scores, out):
    with pytest.raises(ScoreError, match=r"astronomy:0 was scored 2 times"):
        aggregate_scores(spec(), [*scores, scores[0]], out, AsScored())


def test_jobs_of_different_models_are_no_parts_of_one_score(scores, out, tmp_path):
    odd = write_score(tmp_path / "odd", {"virology": [True]})
    write_provenance(MADE_OF | {"model": "ef56"}, {"lm-eval": "0.4"}, odd)
    with pytest.raises(ScoreError, match="made of other models"):
        aggregate_scores(spec(), [*scores, odd], out, AsScored())


def test_jobs_under_different_settings_are_no_parts_of_one_score(scores, out, tmp_path):
    odd = write_score(tmp_path / "odd", {"virology": [True]}, dtype="bfloat16", truncated=True)
    for order in ([*scores, odd], [odd, *scores]):
        with pytest.raises(ScoreError, match=r"asked differently \(dtype, truncated\)"):
            aggregate_scores(spec(), order, out, AsScored())


def test_no_scores_and_no_answers_are_errors(out):
    with pytest.raises(ScoreError, match="no scores to read"):
        aggregate_scores(spec(), [], out, AsScored())
    with pytest.raises(ScoreError, match="no answer to count"):
        tally([])


def test_one_question_has_no_standard_error():
    assert tally([1.0]) == {"n": 1, "correct": 1, "accuracy": 1.0, "stderr": None}


def test_scores_between_right_and_wrong_have_a_mean_and_no_count():
    scores = [0.25, 1.0, 0.5]
    found = tally(scores)
    spread = sum((s - sum(scores) / 3) ** 2 for s in scores) / 2
    assert found["correct"] is None
    assert found["accuracy"] == pytest.approx(sum(scores) / 3)
    assert found["stderr"] == pytest.approx((spread / 3) ** 0.5)


def test_the_prompt_set_knows_prompts_and_not_their_order():
    asked = [judged("a:0", "11"), judged("a:1", "22")]
    assert prompt_set(asked) == prompt_set(reversed(asked))
    assert prompt_set(asked) != prompt_set([judged("a:0", "22"), judged("a:1", "11")])


def test_a_spec_from_json_is_the_spec():
    parsed = {
        "kind": "mmlu",
        "benchmark": "mmlu",
        "categories": "hendrycks",
        "subjects": ["anatomy"],
    }
    parsed["metric"] = None
    assert AggregateSpec.from_json(parsed) == spec(subjects=("anatomy",))
    assert AggregateSpec.from_json(parsed | {"subjects": None}) == spec()

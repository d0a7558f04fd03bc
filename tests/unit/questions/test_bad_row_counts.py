"""Rows that a benchmark was asked without are counted wherever its scores are shown."""

import json

import pytest

from scripts.lib.benchmarks.multiple_choice.scores import AsScored
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.files import sha256_of
from scripts.lib.report.card_results import results
from scripts.lib.report.page import ReportSpec, render_page
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores, load_answers
from scripts.lib.score.files import PROTOCOL_FILE
from tests.comparison_file import read_comparison
from tests.tiny_model import make_tiny_model
from tests.unit import judged_data
from tests.unit.benchmarks.judged_pairs.test_comparison_judged import Judged, page, text_of
from tests.unit.judged_data import pairs
from tests.unit.score.test_scoring import lm_eval_samples, lm_eval_task
from tests.unit.scoring_data import SUBJECTS, rows, score, spec, write_rows

OPTIONS = {
    "multiple_choice": {"answers": "auto", "category": None, "shots": 1, "shots_category": None},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def fetched(folder, kind, files, on_bad_row="leave_out"):
    """Fetch files of rows as a benchmark; return its folder."""
    places = {name: write_rows(folder / "in" / name, items) for name, items in files.items()}
    benchmark = {
        "source": "path",
        "kind": kind,
        "files": {name: sha256_of(place) for name, place in places.items()},
        **OPTIONS.get(kind, {}),
        "on_bad_row": on_bad_row,
    }
    (folder / "fetched").mkdir()
    fetch_benchmark(benchmark, list(places.values()), folder / "fetched")
    return folder / "fetched"


def own_files():
    """Return questions of which three rows are bad, and solved ones with one bad row."""
    good = [{key: row[key] for key in ("question", "choices")} for row in rows("anatomy", 7)]
    asked = [row | {"answer": "A"} for row in good]
    asked[2]["answer"], asked[4]["answer"] = None, ""
    asked[5] |= {"choices": ["x", "x", "y"], "answer": "x"}
    return {"shots.jsonl": [asked[2], asked[1]], "test.jsonl": asked}


OWN = {
    "examples": {"without_answer": 1},
    "questions": {"equal_choices": 1, "without_answer": 2},
}
WORDS = (
    "3 rows left out (1 with equal choices, 2 without answer),"
    " 1 few-shot example left out (1 without answer)"
)


def compared(scores, sums, out):
    """Compare the scores of a base with themselves; return the folder."""
    candidates = [
        {"name": name, "kind": kind, "base": base, "unmerged": False, "judgements": {}}
        | {"scores": {"own": ["scores/x"]}, "categories": {"own": "categories/x"}}
        for name, kind, base in (("tiny", "base", None), ("tuned", "run", "tiny"))
    ]
    given = {"candidates": candidates, "benchmarks": ["own"], "held_out": [], "judged": []}
    out.mkdir()
    places = {"scores/x": scores, "categories/x": sums}
    compare_runs(CompareSpec.from_json(given), places, {}, out)
    return read_comparison(out)


def test_what_was_left_out_stands_in_protocol_categories_comparison_report_and_card(
    model, tmp_path
):
    benchmark = fetched(tmp_path, "multiple_choice", own_files())
    asked = spec(kind="multiple_choice", shots=1)
    facts, answers = score(asked, model, benchmark, tmp_path)
    assert len(answers) == 4
    assert facts["protocol"]["bad_rows"] == OWN
    assert json.loads((tmp_path / "out" / PROTOCOL_FILE).read_text())["bad_rows"] == OWN
    counted = AggregateSpec(
        kind="multiple_choice", benchmark="own", categories="none", subjects=None, metric=None
    )
    (tmp_path / "sums").mkdir()
    aggregate_scores(counted, [tmp_path / "out"], tmp_path / "sums", AsScored())
    average = json.loads((tmp_path / "sums/own.average.json").read_text())
    assert average["protocol"]["bad_rows"] == OWN and average["n"] == 4
    document = compared(tmp_path / "out", tmp_path / "sums", tmp_path / "table")
    assert document["benchmarks"]["own"]["protocol"]["bad_rows"] == OWN
    assert WORDS in (tmp_path / "table/comparison.md").read_text()
    report = ReportSpec.from_json({"title": "t", "candidates": [], "legacy": []})
    assert WORDS in text_of(render_page(report, document, {}))
    assert WORDS in "".join(results(document, "tuned"))


def mmlu_files(**changes):
    """Return both subjects in MMLU's layout; `subject=change` makes the second row a bad one."""
    files = {}
    for subject in SUBJECTS:
        for split in ("test", "dev"):
            items = rows(subject, 4)
            if split == "test" or subject == "anatomy":
                items[1] |= changes.get(subject, {})
            files[f"{split}/{subject}.jsonl"] = items
    return files


def test_the_jobs_of_a_benchmark_add_up_what_was_left_out_of_their_subjects(model, tmp_path):
    changes = {"abstract_algebra": {"answer": 9}, "anatomy": {"answer": None}}
    benchmark = fetched(tmp_path, "mmlu", mmlu_files(**changes))
    for shots, examples in ((1, {"examples": {"without_answer": 1}}), (0, {})):
        folders = []
        for subject, reason in zip(
            SUBJECTS, ("answer_not_among_choices", "without_answer"), strict=True
        ):
            asked = spec(subject=subject, shots=shots)
            facts, _ = score(asked, model, benchmark, tmp_path / f"{subject}{shots}")
            own = examples if subject == "anatomy" else {}
            assert facts["protocol"]["bad_rows"] == {"questions": {reason: 1}, **own}
            folders.append(tmp_path / f"{subject}{shots}" / "out")
        _, protocol = load_answers(folders, AsScored())
        asked_without = {"answer_not_among_choices": 1, "without_answer": 1}
        assert protocol["bad_rows"] == {"questions": asked_without, **examples}


@pytest.mark.parametrize("on_bad_row", ["error", "leave_out"])
def test_where_nothing_was_left_out_nothing_is_said(model, tmp_path, on_bad_row):
    benchmark = fetched(tmp_path, "mmlu", mmlu_files(), on_bad_row)
    facts, _ = score(spec(subject=SUBJECTS[0]), model, benchmark, tmp_path)
    assert "bad_rows" not in facts["protocol"]


def test_generated_and_judged_answers_say_what_was_left_out(model, tmp_path):
    asked = {"subject": None, "shots": 0, "chat_template": True, "max_new_tokens": 2}
    for kind in ("exact_match", "judged_pairs"):
        items = [{"prompt": "Say A", "answer": "A"}, {"prompt": ""}, {"prompt": "B", "answer": "B"}]
        items[1]["answer"] = "C"
        benchmark = fetched(tmp_path / kind, kind, {"questions.jsonl": items})
        facts, answers = score(spec(kind=kind, **asked), model, benchmark, tmp_path / kind)
        assert len(answers) == 2
        assert facts["protocol"]["bad_rows"] == {"questions": {"without_prompt": 1}}


def test_a_judged_section_says_what_was_left_out(tmp_path, monkeypatch):
    counted = {"questions": {"without_prompt": 1}}
    monkeypatch.setattr(judged_data, "PROTOCOL", judged_data.PROTOCOL | {"bad_rows": counted})
    judged = Judged(tmp_path, pairs(8, lambda n: f"short {n}", lambda n: f"longer than {n}"))
    document = judged.compare()
    said = "1 row left out (1 without prompt)."
    assert said in judged.markdown and said in text_of(page(document))
    assert said in "".join(results(document, "gentle"))


def test_equal_choices_are_answered_as_lm_eval_answers_them(model, tmp_path):
    """Whichever of the two is right: letters are asked for, and a letter is right or wrong."""
    choices = (["same", "same", "p", "q"], ["p", "same", "q", "same"], ["same"] * 4)
    items = [
        {"question": f"Number {n}?", "choices": texts, "answer": answer}
        for n, (texts, answer) in enumerate((texts, a) for texts in choices for a in range(4))
    ]
    lettered = [row | {"answer": "ABCD"[row["answer"]]} for row in items]
    task = lm_eval_task("abstract_algebra", items, items[:1])
    # MMLU names the subject; a set without categories has none.
    task["description"] = "The following are multiple choice questions (with answers).\n\n"
    theirs = lm_eval_samples(model, task, shots=1, chat_template=False)
    files = {"shots.jsonl": lettered[:1], "test.jsonl": lettered}
    benchmark = fetched(tmp_path, "multiple_choice", files, "error")
    asked = spec(kind="multiple_choice", shots=1)
    _, ours = score(asked, model, benchmark, tmp_path)
    assert {answer["correct"] for answer in ours} == {True, False}
    for sample, answer in zip(theirs, ours, strict=True):
        assert answer["correct"] == bool(sample["acc"])
        expected = [logprob for logprob, _ in sample["filtered_resps"]]
        assert answer["logprobs"] == pytest.approx(expected, abs=1e-5)

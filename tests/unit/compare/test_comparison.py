"""Properties of comparisons between fine-tunes and their bases."""

import dataclasses
import itertools
import math
import shutil

import numpy as np
import pytest

from scripts.lib.compare.comparison import compare_runs
from scripts.lib.errors import ScoreError, StoreError
from scripts.lib.score.statistics import paired_difference
from tests.unit.compare.bench import QUESTIONS, SUBJECTS, half
from tests.unit.report_data import said


def test_the_error_of_a_difference_is_that_of_paired_answers():
    base = [True] * 50 + [False] * 50
    run = [True] * 48 + [False] * 2 + [True] * 8 + [False] * 42
    change = paired_difference(base, run)
    expected = np.std(np.subtract(run, base, dtype=float), ddof=1) / math.sqrt(100)
    assert change["difference"] == pytest.approx(6.0)
    assert change["stderr"] == pytest.approx(100 * expected)
    assert (change["gained"], change["lost"], change["n"]) == (8, 2, 100)
    unpaired = 100 * math.sqrt(0.5 * 0.5 / 99 + 0.56 * 0.44 / 99)
    assert change["stderr"] < unpaired / 2


def test_the_p_value_is_the_exact_sign_test_on_flipped_questions():
    change = paired_difference([False] * 10, [True] * 10)
    assert change["p_value"] == pytest.approx(2 * 0.5**10)
    assert change["verdict"] == "better"
    worse = paired_difference([True] * 10, [False] * 10)
    assert (worse["difference"], worse["verdict"]) == (-100, "worse")


def test_scores_between_right_and_wrong_are_tested_by_flipping_signs():
    base = [0.2, 0.5, 0.1, 0.9, 0.4, 0.3, 0.6]
    run = [0.5, 0.6, 0.7, 0.8, 0.9, 0.5, 0.6]
    change = np.subtract(run, base)
    every = itertools.product((-1, 1), repeat=len(change))
    means = [float(np.mean(signs * change)) for signs in every]
    as_far = sum(abs(mean) >= abs(change.mean()) - 1e-12 for mean in means)
    found = paired_difference(base, run)
    assert found["p_value"] == pytest.approx(as_far / len(means))
    assert (found["test"], found["gained"], found["lost"]) == ("sign flips", 5, 1)
    assert found["difference"] == pytest.approx(100 * change.mean())


def test_few_flips_are_undecided_and_no_flips_are_unchanged():
    assert paired_difference([False] * 4, [True] * 4)["verdict"] == "undecided"
    still = paired_difference([True, False], [True, False])
    assert (still["verdict"], still["p_value"], still["stderr"]) == ("unchanged", 1.0, 0.0)
    assert paired_difference([True], [False])["stderr"] is None


def test_swapping_base_and_run_turns_the_sign_and_keeps_the_error():
    base, run = [True, True, False, False, True], [True, False, True, True, True]
    there, back = paired_difference(base, run), paired_difference(run, base)
    assert there["difference"] == -back["difference"]
    assert there["stderr"] == pytest.approx(back["stderr"])
    assert (there["gained"], there["lost"]) == (back["lost"], back["gained"])


def test_every_category_has_score_difference_and_flips(bench):
    bench.add("base", right=half)
    bench.add("gentle", right=lambda n: n % 2 == 0 and n != 2, base="base")
    mmlu = bench.compare()["benchmarks"]["mmlu"]
    assert mmlu["categories"] == ["Average", "STEM", "Social Sciences", "Humanities", "Other"]
    assert mmlu["candidates"]["base"]["STEM"]["accuracy"] == 0.5
    stem = mmlu["differences"]["gentle"]["STEM"]
    assert stem["base"] == "base"
    assert (stem["gained"], stem["lost"], stem["n"]) == (0, 1, QUESTIONS)
    assert stem["difference"] == pytest.approx(-2.5)
    assert mmlu["differences"]["gentle"]["Average"]["lost"] == 4
    assert mmlu["category_map"] == "hendrycks" and mmlu["protocol"]["shots"] == 5


def test_the_csv_is_tidy_and_the_markdown_is_the_table_of_the_how_to(bench):
    bench.add("base", right=half)
    bench.add("a|b", right=lambda n: True, base="base")
    change = bench.compare()["benchmarks"]["mmlu"]["differences"]["a|b"]["Average"]
    # Five categories, and four subjects below them, of two candidates.
    assert bench.facts == {"rows": len(bench.rows)} == {"rows": 18}
    assert list(bench.rows[0])[:13] == [
        "benchmark",
        "category",
        "candidate",
        "kind",
        "base",
        "n",
        "correct",
        "accuracy",
        "stderr",
        "difference",
        "difference_stderr",
        "gained",
        "lost",
    ]
    assert bench.rows[0]["difference"] == "" and bench.rows[1]["difference"] == "50.0"
    table = [line for line in bench.markdown.splitlines() if line.startswith("|")]
    assert table[0] == r"| Category | base | a\|b |"
    assert table[2] == f"| Average | 50.00 | 100.00 ({said(change)}, better) |"
    assert len(table) == 7
    assert "160 questions, 5-shot" in bench.markdown and "anatomy is Other" in bench.markdown


def test_each_run_is_compared_with_its_own_base_and_stands_beside_it(bench):
    bench.add("small", right=half)
    bench.add("large", right=lambda n: n % 4)
    bench.add("small-tuned", right=lambda n: True, base="small")
    bench.add("large-tuned", right=lambda n: True, base="large")
    document = bench.compare()
    names = [candidate["name"] for candidate in document["candidates"]]
    assert names == ["small", "small-tuned", "large", "large-tuned"]
    differences = document["benchmarks"]["mmlu"]["differences"]
    assert differences["small-tuned"]["Average"]["difference"] == pytest.approx(50)
    assert differences["large-tuned"]["Average"]["difference"] == pytest.approx(25)


def test_other_prompts_than_the_base_s_are_refused_naming_both_and_the_benchmark(bench):
    bench.add("base", right=half)
    bench.add("tuned", right=half, base="base", prompts="q")
    with pytest.raises(ScoreError, match=r"'tuned'.*'base'.*'mmlu' \(160 of 160 differ"):
        bench.compare()


def test_bases_with_other_templates_share_a_table_with_a_word_of_warning(bench):
    bench.add("one", right=lambda n: True)
    bench.add("two", right=lambda n: True, prompts="q")
    notes = bench.compare()["benchmarks"]["mmlu"]["notes"]
    assert [note["code"] for note in notes] == ["prompts_differ_between_bases"]


def test_bases_of_unequal_contexts_share_a_table_that_counts_what_was_shortened(bench):
    bench.add("small", right=half, prompts="q", fewer_shots=5)
    bench.add("tuned", right=lambda n: True, prompts="q", base="small", fewer_shots=5)
    bench.add("large", right=half)
    mmlu = bench.compare()["benchmarks"]["mmlu"]
    assert mmlu["differences"]["tuned"]["Average"]["difference"] == pytest.approx(50)
    assert mmlu["protocol"]["fewer_shots"] == 5
    (note,) = (note for note in mmlu["notes"] if note["code"] == "fewer_shots_differ")
    assert "small 5, tuned 5, large 0" in note["text"] and note["text"] in bench.markdown


def test_other_questions_are_refused_even_between_bases(bench):
    bench.add("one", right=half)
    bench.add("two", right=half, subjects=SUBJECTS[:2])
    with pytest.raises(ScoreError, match="'one' and 'two' were not asked the same questions"):
        bench.compare()


def test_a_benchmark_at_chance_says_that_it_cannot_tell_models_apart(bench):
    bench.add("base", right=lambda n: n % 4 == 0)
    bench.add("tuned", right=lambda n: n % 4 == 1, base="base")
    document = bench.compare()
    notes = document["benchmarks"]["mmlu"]["notes"]
    assert [note["code"] for note in notes] == ["near_chance"]
    assert "cannot tell these models apart" in bench.markdown


def test_candidates_that_were_not_merged_are_named_under_the_table(bench):
    bench.add("base", right=half)
    bench.add("proved", right=half, base="base")
    bench.add("quick", right=half, base="base", unmerged=True)
    document = bench.compare()
    (note,) = (n for n in document["benchmarks"]["mmlu"]["notes"] if n["code"] == "unmerged")
    assert "quick" in note["text"] and "proved" not in note["text"]
    assert note["text"] in bench.markdown
    assert [c["unmerged"] for c in document["candidates"]] == [False, False, True]


def test_one_candidate_above_chance_silences_that_warning(bench):
    bench.add("base", right=lambda n: n % 4 == 0)
    bench.add("tuned", right=lambda n: True, base="base")
    assert bench.compare()["benchmarks"]["mmlu"]["notes"] == []


def test_an_exact_match_benchmark_has_an_average_and_no_chance_level(bench):
    for name, base, right in (("base", None, lambda n: False), ("tuned", "base", half)):
        bench.add(name, right=right, base=base)
        bench.add(name, right=right, base=base, kind="exact_match", subjects=("orders",))
    document = bench.compare()
    orders = document["benchmarks"]["orders"]
    assert orders["categories"] == ["Average"] and orders["notes"] == []
    assert orders["differences"]["tuned"]["Average"]["gained"] == QUESTIONS // 2
    assert list(document["benchmarks"]) == ["mmlu", "orders"]
    assert "exact match of a greedy answer" in bench.markdown


def test_a_run_whose_base_was_not_scored_has_a_score_and_no_difference(bench):
    bench.add("base", right=half)
    bench.add("tuned", right=half, base="base", kind="exact_match", subjects=("orders",))
    document = bench.compare()
    assert document["benchmarks"]["orders"]["differences"] == {}
    assert document["benchmarks"]["orders"]["candidates"]["tuned"]["Average"]["correct"] == 20


def test_category_files_of_other_answers_are_refused(bench):
    bench.add("base", right=half)
    path = bench.artifacts["categories/base-mmlu"] / "mmlu.stem.json"
    path.write_text(path.read_text().replace('"correct": 20', '"correct": 21'))
    with pytest.raises(ScoreError, match="counts 21 of 40, but the answers at hand are 20"):
        bench.compare()


def manifest(content, **inputs):
    edges = {edge: [{"id": id_, "content": used}] for edge, (id_, used) in inputs.items()}
    return {"content": content, "files": [], "inputs": edges}


def test_an_artifact_made_from_other_bytes_than_those_at_hand_is_refused(bench):
    bench.add("base", right=half)
    good = {
        "merged/m": manifest("aa", adapter=("adapters/a", "bb")),
        "adapters/a": manifest("bb", model=("models/not-here", "cc")),
    }
    bench.compare(good)
    stale = good | {"adapters/a": manifest("dd")}
    with pytest.raises(StoreError, match="merged/m was made from another adapters/a"):
        compare_runs(bench.spec(), bench.artifacts, stale, bench.root / "out")


def test_equal_work_gives_equal_bytes(bench):
    bench.add("base", right=half)
    bench.add("tuned", right=lambda n: n % 3, base="base")
    bench.compare()
    again = bench.root / "again"
    again.mkdir()
    compare_runs(bench.spec(), bench.artifacts, {}, again)
    for path in again.iterdir():
        assert path.read_bytes() == (bench.root / "out" / path.name).read_bytes()


def test_a_difference_that_rounding_could_have_made_says_so(bench):
    """One answer more, and that one lies on the edge; a clear one beside it is none of noise."""
    bench.add("base", right=half)
    edge = {"margin": lambda n: 1e-9 if n == 1 else 2.0}
    bench.add("close", right=lambda n: half(n) or n == 1, base="base", **edge)
    bench.add("clear", right=lambda n: half(n) or n == 1, base="base")
    mmlu = bench.compare()["benchmarks"]["mmlu"]
    close, clear = (mmlu["differences"][name]["STEM"] for name in ("close", "clear"))
    assert close["difference"] == clear["difference"] == pytest.approx(100 / QUESTIONS)
    assert close["noise"]["sign_lost"] == pytest.approx(0.5, abs=0.01)
    assert close["noise"]["within"] and not clear["noise"]["within"]
    points = f"{100 * 0.5 / QUESTIONS:.2f}"
    cell = f"({said(close)}, undecided below {close['detectable']:.2f}, within numeric noise"
    assert f"{cell} ± {points})" in bench.markdown
    (note,) = (note for note in mmlu["notes"] if note["code"] == "within_noise")
    assert "close on " in note["text"] and "clear" not in note["text"]
    assert note["text"] in bench.markdown
    (row,) = (r for r in bench.rows if (r["candidate"], r["category"]) == ("close", "STEM"))
    assert row["within_noise"] == "True" and float(row["noise_points"]) == pytest.approx(1.25)


def test_the_noise_of_another_model_can_be_given(bench):
    bench.add("base", right=half)
    bench.add("run", right=lambda n: half(n) or n == 1, base="base", margin=lambda n: 0.3)
    given = bench.spec
    mmlu = bench.compare()["benchmarks"]["mmlu"]
    assert not mmlu["differences"]["run"]["Average"]["noise"]["within"]
    bench.spec = lambda: dataclasses.replace(given(), noise_nats={"float32": 0.5})
    shutil.rmtree(bench.root / "out")
    mmlu = bench.compare()["benchmarks"]["mmlu"]
    noise = mmlu["differences"]["run"]["Average"]["noise"]
    assert noise["within"] and noise["nats"] == 0.5

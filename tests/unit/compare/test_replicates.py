"""Groups of seeds in a comparison: their mean effect, their spread, and pairs beside it."""

import json

import numpy as np
import pytest

from scripts.lib.benchmarks.held_out import comparison as held_out
from scripts.lib.benchmarks.judged_pairs import comparison as judged
from scripts.lib.compare.between_seeds import mean_effect, student
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.replicates import MOST_PAIRED
from scripts.lib.compare.spec import ComparedCandidate
from tests.unit.benchmarks.held_out.test_held_out_comparison import AFTER, BEFORE, score
from tests.unit.compare.bench import QUESTIONS, SUBJECTS, Bench

SEEDS = (3, 5, 9)


def gains(every):
    """Return what a run gets right that gains each so many-th question that the base has wrong."""
    return lambda n: n % 2 == 0 or n % every == 0


@pytest.fixture
def bench(tmp_path):
    """Return a bench of a base, a run with three seeds, and one without."""
    made = Bench(tmp_path)
    made.add("base", right=lambda n: n % 2 == 0)
    for seed in SEEDS:
        made.add(f"gentle-seed{seed}", right=gains(seed), base="base", group="gentle")
    made.add("plain", right=gains(7), base="base")
    return made


def changes(every):
    per_subject = [100.0 * (gains(every)(n) - (n % 2 == 0)) for n in range(QUESTIONS)]
    return per_subject * len(SUBJECTS)


def test_a_group_has_the_mean_of_its_runs_with_both_spreads_in_every_category(bench):
    document = bench.compare()
    members = [f"gentle-seed{seed}" for seed in SEEDS]
    assert document["groups"] == {"gentle": {"base": "base", "members": members}}
    assert [c["group"] for c in document["candidates"]] == [None, *["gentle"] * 3, None]
    effects = document["seeds"]["mmlu"]["effects"]["gentle"]
    assert list(effects) == document["benchmarks"]["mmlu"]["categories"]
    expected = mean_effect(np.array([changes(seed) for seed in SEEDS]), unit="points")
    average = effects["Average"]
    assert average["difference"] == pytest.approx(expected["difference"])
    assert average["interval"] == pytest.approx(expected["interval"])
    assert average["seed_sd"] == pytest.approx(expected["seed_sd"])
    assert average["verdict"] == "undecided", "three seeds so far apart tell little"
    own = document["benchmarks"]["mmlu"]["differences"]
    single = [own[name]["Average"]["difference"] for name in members]
    assert average["difference"] == pytest.approx(np.mean(single))
    assert average["seed_range"] == pytest.approx([min(single), max(single)])


def test_runs_without_seeds_make_no_group_and_say_nothing_of_seeds(tmp_path):
    made = Bench(tmp_path)
    made.add("base", right=gains(3))
    made.add("tuned", right=gains(5), base="base")
    document = made.compare()
    assert document["groups"] == document["seeds"] == {}
    assert "seeds" not in made.markdown


def test_a_run_without_seeds_is_held_against_the_spread_of_a_group_on_the_same_data(bench):
    bench.add("bold", right=lambda n: True, base="base")
    bench.add("elsewhere", right=lambda n: True, base="base", trained_on="chat/others")
    pairs = bench.compare()["seeds"]["mmlu"]["pairs"]
    assert [(pair["one"], pair["other"]) for pair in pairs] == [
        ("gentle", "plain"),
        ("gentle", "bold"),
        ("plain", "bold"),
    ]
    beside, far, borrowed = pairs
    means = [np.mean(changes(seed)) for seed in SEEDS]
    sd = np.std(means, ddof=1)
    assert beside["difference"] == pytest.approx(np.mean(means) - np.mean(changes(7)))
    assert beside["limit"] == pytest.approx(student(2) * sd * np.sqrt(1 / 3 + 1))
    assert beside["within_seeds"] and not far["within_seeds"]
    assert all(pair["spread_of"] == ["gentle"] for pair in pairs)
    assert borrowed["limit"] == pytest.approx(student(2) * sd * np.sqrt(2))
    said = bench.markdown
    assert "points between gentle and plain are within what another seed gives (up to " in said
    apart = f"{abs(far['difference']):.1f}"
    assert f"gentle lies {apart} points below bold (95 % interval" in said
    assert said.count("told by the seeds of gentle, on the same model and data") == 1


def test_two_groups_are_compared_by_their_own_spreads_together(bench):
    for seed in SEEDS:
        right = gains(seed + 10)
        bench.add(f"mild-seed{seed}", right=right, base="base", group="mild")
    pairs = {(p["one"], p["other"]): p for p in bench.compare()["seeds"]["mmlu"]["pairs"]}
    both = pairs["gentle", "mild"]
    variances = [
        np.var([np.mean(changes(seed + more)) for seed in SEEDS], ddof=1) for more in (0, 10)
    ]
    assert both["spread_of"] == ["gentle", "mild"]
    assert both["seed_sd"] == pytest.approx(np.sqrt(np.mean(variances)))
    assert both["limit"] == pytest.approx(student(4) * both["seed_sd"] * np.sqrt(2 / 3))
    low, high = both["interval"]
    assert low < both["difference"] < high
    assert pairs["gentle", "plain"]["spread_of"] == ["gentle"]


def test_a_wide_sweep_is_not_paired_run_by_run(bench):
    for number in range(MOST_PAIRED):
        bench.add(f"r{number}", right=gains(3), base="base")
    found = bench.compare()["seeds"]["mmlu"]
    assert found["pairs"] == [] and "gentle" in found["effects"]


def test_csv_and_markdown_have_a_line_for_each_group_and_category(bench):
    document = bench.compare()
    rows = [row for row in bench.rows if row["kind"] == "seeds"]
    assert [row["category"] for row in rows] == document["benchmarks"]["mmlu"]["categories"]
    average = document["seeds"]["mmlu"]["effects"]["gentle"]["Average"]
    assert rows[0]["candidate"] == "gentle" and rows[0]["seeds"] == "3"
    assert float(rows[0]["difference"]) == average["difference"]
    assert float(rows[0]["seed_sd"]) == average["seed_sd"]
    assert [float(rows[0][f"difference_{end}"]) for end in ("low", "high")] == average["interval"]
    assert all(row["seeds"] == "" for row in bench.rows if row["kind"] != "seeds")
    assert "gentle stands for gentle-seed3, gentle-seed5, gentle-seed9." in bench.markdown
    assert "| mmlu, Average | gentle | +" in bench.markdown


def test_equal_seeds_give_equal_bytes(bench):
    bench.compare()
    again = bench.root / "again"
    again.mkdir()
    compare_runs(bench.spec(), bench.artifacts, {}, again)
    for path in again.iterdir():
        assert path.read_bytes() == (bench.root / "out" / path.name).read_bytes()


def test_a_benchmark_that_a_base_was_not_asked_says_nothing_of_seeds(bench):
    for seed in SEEDS:
        name, asked = f"gentle-seed{seed}", {"kind": "exact_match", "subjects": ("orders",)}
        bench.add(name, right=gains(seed), base="base", group="gentle", **asked)
    assert bench.compare()["seeds"]["orders"]["effects"] == {}


def candidate(name, base="base", **settings):
    scores = {"bench": f"categories/{name}"}
    return ComparedCandidate(
        name=name,
        kind="run" if base else "base",
        base=base,
        unmerged=False,
        scores={},
        categories=scores if base else {},
        judgements=scores if base else {},
        **settings,
    )


def write_judged(folder, decisions):
    folder.mkdir()
    lines = (
        f'{{"prompt_id": "p{n}", "category": {category}, "decision": "{decision}"}}\n'
        for n, (category, decision) in enumerate(decisions)
    )
    (folder / "bench.judged.jsonl").write_text("".join(lines))
    return folder


def test_judged_pairs_are_measured_as_win_rates_beside_one_half(tmp_path):
    runs = [candidate("one"), candidate("two")]
    folders = {
        "categories/one": write_judged(
            tmp_path / "one", [('"a"', "win"), ('"b"', "tie"), ("null", "loss")]
        ),
        "categories/two": write_judged(
            tmp_path / "two", [('"a"', "win"), ('"b"', "win"), ("null", "tie")]
        ),
    }
    found = judged.measures("bench", [candidate("base", None), *runs], folders, {"one", "two"})
    assert list(found) == ["Average", "a", "b"]
    assert found["Average"].values == {
        "one": [100, 50, 0],
        "base": [50, 50, 50],
        "two": [100, 100, 50],
    }
    assert found["b"].values["two"] == [100]
    assert judged.measures("bench", runs, folders, set()) == {}


def test_held_out_measures_average_to_what_the_section_says_of_each_candidate(tmp_path):
    candidates = [candidate("base", None), candidate("one"), candidate("two")]
    spoilt = [one | {"stops": 0.0} for one in reversed(AFTER)]
    folders = {}
    for one, kept in zip(candidates, (BEFORE, AFTER, spoilt), strict=True):
        one.categories["bench"] = f"categories/{one.name}"
        folders[f"categories/{one.name}"] = folder = tmp_path / one.name
        folder.mkdir()
        document = json.dumps(score(one.name, kept).document)
        (folder / "bench.held_out.json").write_text(document)
        text = "".join(json.dumps(line) + "\n" for line in kept)
        (folder / "bench.held_out.jsonl").write_text(text)
    section = held_out.section("bench", candidates, folders, {})
    found = held_out.measures("bench", candidates, folders, {"base", "one", "two"})
    assert list(found) == ["loss", "stops", "format", "language"]
    assert found["loss"].unit == "nats" and found["stops"].unit == "points"
    for name in ("one", "two"):
        for label, measure in found.items():
            change = np.subtract(measure.values[name], measure.values["base"])
            stated = section["differences"][name][label]
            assert change.mean() == pytest.approx(stated["difference"])
            assert np.std(change, ddof=1) / np.sqrt(len(change)) == pytest.approx(stated["stderr"])
    assert found["loss"].values["one"] == pytest.approx(found["loss"].values["two"])

"""Properties of what is drawn of subjects, sweeps and many runs, and of how much of it there is."""

import dataclasses
import re

import pytest

from scripts.lib.compare.wording import with_interval
from scripts.lib.report.charts import ranking_chart
from scripts.lib.report.costs import costs
from scripts.lib.report.page import render_page
from scripts.lib.report.pictures import MOST_RANKED
from scripts.lib.report.serving import serving
from scripts.lib.report.sweeps import sweeps
from tests.unit.report.many import RANKS, RATES, made_up
from tests.unit.report_data import evidence


def charts_of(html):
    return re.findall(r'<svg class="chart".*?</svg>', html, flags=re.DOTALL)


def words_of(chart):
    return [word.strip() for word in re.findall(r"<text[^>]*>([^<]+)</text>", chart)]


@pytest.fixture(scope="module")
def grid():
    return made_up(20, 3)


def test_two_hundred_runs_on_57_subjects_are_one_page_of_less_than_3_mb():
    spec, document, manifests = made_up(200, 57)
    html = render_page(spec, document, manifests)
    assert len(html.encode()) < 3_000_000
    assert "The subjects of all 200 fine-tunes stand in comparison.csv." in html
    assert f"of 200 fine-tunes the {MOST_RANKED} that differ most" in html
    assert "188 more" in html
    verdict = document["benchmarks"]["mmlu"]["differences"]["grid-r8-lr1e-05-0"]["Average"]
    assert f"On mmlu, on average: 200 {verdict['verdict']}." in html
    for candidate in spec.candidates:
        assert candidate.name in html


def test_subjects_are_drawn_from_the_largest_loss_to_the_largest_gain():
    spec, document, manifests = made_up(2, 12)
    html = render_page(spec, document, manifests)
    for run, changes in document["benchmarks"]["mmlu"]["subject_differences"].items():
        (chart,) = [one for one in charts_of(html) if f"<title>{run} on the subjects" in one]
        drawn = [word for word in words_of(chart) if word in changes]
        assert drawn == sorted(changes, key=lambda subject: changes[subject]["difference"])
        assert {"smollm2", run} <= set(words_of(chart))


def test_a_sweep_is_drawn_over_its_values_with_a_table_of_the_same_numbers(grid):
    spec, document, manifests = grid
    found = {view["setting"]: view for view in sweeps(document, spec.candidates, manifests)}
    assert found.keys() == {"learning_rate", "r"}
    rates = found["learning_rate"]
    assert rates["lines"] == [f"r {rank}" for rank in RANKS]
    assert [row["value"] for row in rates["rows"]] == [f"{rate:g}" for rate in RATES]
    changes = document["benchmarks"]["mmlu"]["differences"]
    for row in rates["rows"]:
        for rank, cell in zip(RANKS, row["cells"], strict=True):
            change = changes[f"grid-r{rank}-lr{row['value']}-0"]["Average"]
            assert cell["change"] == with_interval(change["difference"], change["interval"])
    # Five learning rates at each rank, of which four have a colour.
    assert "4 of 5 lines" in found["r"]["caption"]
    assert {f"{rate:g}" for rate in RATES} <= set(words_of(rates["svg"]))


def test_two_values_or_other_data_are_no_sweep(grid):
    spec, document, manifests = grid
    two = [c for c in spec.candidates if c.kind == "base" or "r8-lr1e-05" in c.name]
    two += [c for c in spec.candidates if "r8-lr3e-05" in c.name]
    assert sweeps(document, two, manifests) == []
    other = [
        dataclasses.replace(one, artifacts={**one.artifacts, "chat": f"chat/other-{number}"})
        for number, one in enumerate(spec.candidates)
    ]
    assert sweeps(document, other, manifests) == []


def test_no_two_charts_of_a_page_share_an_id(grid):
    html = render_page(*grid)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(charts_of(html)) > 5 and len(ids) == len(set(ids))
    assert len(set(re.findall(r"<title>(.*?)</title>", html))) == len(charts_of(html)) + 1


def test_gpu_hours_count_every_gpu_and_only_gpus():
    spec, manifests = evidence()
    for manifest in manifests.values():
        on_gpu = manifest["id"].startswith("adapters/")
        manifest["execution"] |= {"seconds": 1800.0, "gpus": 4 if on_gpu else 0}
        manifest["execution"] |= {"device": "NVIDIA H100" if on_gpu else "a processor"}
        manifest["execution"]["plan"] = "earlier" if on_gpu else "now"
    found = costs(spec.candidates, manifests, "now")
    train = next(one for one in found["stages"] if one["stage"] == "Train")
    assert train["gpu"] == "4.00 h of NVIDIA H100"  # two trainings of half an hour on four
    assert train["time"] == "1 h 00 min" and train["found"] == "yes"
    others = [one for one in found["stages"] if one is not train]
    assert {one["gpu"] for one in others} == {"none"} and {one["found"] for one in others} == {"no"}
    assert "4.00 h of GPUs" in found["total"]


def test_only_whole_tuned_models_are_served_and_from_their_own_folder():
    spec, manifests = evidence()
    found = serving(spec.candidates, manifests)
    assert [model["name"] for model in found["models"]] == ["gentle", "eager"]
    assert found["models"][0]["vllm"].startswith("vllm serve results/runs/gentle/model ")
    assert "-m gentle.gguf " in found["models"][0]["llama"]
    unmerged = {id_: one for id_, one in manifests.items() if not id_.startswith("merged/")}
    assert serving(spec.candidates, unmerged) is None


def test_an_interval_that_misses_its_difference_by_a_rounding_is_drawn():
    changes = {
        "all lost": {"difference": -100.0, "interval": [-99.99999999999999, -90.0]},
        "all gained": {"difference": 100.0, "interval": [90.0, 99.99999999999999]},
    }
    assert {"all lost", "all gained"} <= set(words_of(ranking_chart(changes, label="x")))

"""Runs with several seeds on the page: one line, members folded, both spreads in words."""

import re

import pytest

from scripts.lib.report.folded import Folded
from scripts.lib.report.page import ReportSpec, render_page
from tests.unit.compare.bench import Bench
from tests.unit.compare.test_replicates import SEEDS, gains
from tests.unit.report.test_report import Page
from tests.unit.report_data import said

MEMBERS = [f"gentle-seed{seed}" for seed in SEEDS]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """The comparison of a base, a run with three seeds, and one without."""
    bench = Bench(tmp_path_factory.mktemp("seeds"))
    bench.add("base", right=lambda n: n % 2 == 0)
    for seed, name in zip(SEEDS, MEMBERS, strict=True):
        bench.add(name, right=gains(seed), base="base", group="gentle")
    bench.add("plain", right=gains(7), base="base")
    return bench.compare()


def rendered(document):
    return render_page(ReportSpec(title="A page", legacy=(), candidates=()), document, {})


@pytest.fixture(scope="module")
def page(document):
    return Page(rendered(document))


def part(html, anchor):
    """Return the text of a section."""
    return re.search(rf'<section id="{anchor}".*?</section>', html, re.DOTALL)[0]


def test_the_answer_is_one_for_all_seeds_and_names_no_single_one(document, page):
    answer = Page(part(rendered(document), "answer")).text
    assert "gentle shows no decided difference from base on mmlu." in answer
    effect = document["seeds"]["mmlu"]["effects"]["gentle"]["Average"]
    mean, sd = f"+{effect['difference']:.1f} points on average", f"{effect['seed_sd']:.1f}"
    assert f"Three trainings with other seeds: mmlu {mean} (95 % interval " in answer
    assert f"seeds alone moved it by {sd} (from " in answer
    assert not any(member in answer for member in MEMBERS)
    assert "plain is better than base on mmlu" in answer


def test_a_table_has_one_column_for_all_seeds_and_the_others_folded_below_it(document):
    scores = part(rendered(document), "scores")
    shown, folded, by_subject = scores.split("<details>")
    heads = re.findall(r'<th scope="col">([^<\s]+)', shown)
    assert heads == ["Category", "base", "gentle", "plain"]
    assert "mean of 3 seeds" in shown
    for effect in document["seeds"]["mmlu"]["effects"]["gentle"].values():
        assert said(effect) in shown
        assert f"seeds ± {effect['seed_sd']:.2f}, questions ± " in shown
    assert "gentle: the three trainings one by one" in folded
    # Several seeds have no figures by subject; who stands alone has.
    heads = re.findall(r'<th scope="col">([^<\s]+)', by_subject)
    assert heads == ["Subject", "base", "plain"]
    assert re.findall(r'<th scope="col">([^<\s]+)', folded)[:5] == ["Category", "base", *MEMBERS]
    for member in MEMBERS:
        change = document["benchmarks"]["mmlu"]["differences"][member]["Average"]
        assert said(change) in folded


def test_the_chart_draws_the_mean_and_not_its_members(document):
    *_, chart = re.findall(r'<svg class="chart".*?</svg>', rendered(document), re.DOTALL)
    assert ">gentle<" in chart and ">plain<" in chart
    assert not any(member in chart for member in MEMBERS)


def test_more_seeds_than_colours_still_have_a_chart(document, tmp_path):
    bench = Bench(tmp_path)
    bench.add("base", right=lambda n: n % 2 == 0)
    for seed in range(3, 11):
        bench.add(f"many-seed{seed}", right=gains(seed), base="base", group="many")
    assert '<svg class="chart"' in rendered(bench.compare())


def test_the_section_on_seeds_says_what_another_seed_gives_and_that_none_is_picked(page, document):
    html = rendered(document)
    text = Page(part(html, "seeds")).text
    assert f"gentle stands for {', '.join(MEMBERS)}" in text
    assert "No seed is picked" in text
    assert "mmlu: The " in text and "are within what another seed gives (up to " in text
    first, more = part(html, "seeds").split("<summary>By category and measure")
    assert "mmlu, Average" in first and "mmlu, STEM" in more


def test_nothing_names_a_best_seed(page):
    assert not re.search(r"\b(best|winner|top)\b (seed|training|run)", page.text)


def test_without_seeds_the_page_says_nothing_of_them(tmp_path):
    bench = Bench(tmp_path)
    bench.add("base", right=gains(3))
    bench.add("plain", right=gains(7), base="base")
    html = rendered(bench.compare())
    assert "seed" not in Page(html).text.lower()
    assert 'href="#seeds"' not in html


def test_runs_whose_base_was_not_asked_keep_their_own_columns(document):
    folded = Folded(groups=document["groups"], effects={"mmlu": {}})
    names = [line["name"] for line in folded.lines("mmlu", document["candidates"])]
    assert names == ["base", *MEMBERS, "plain"]

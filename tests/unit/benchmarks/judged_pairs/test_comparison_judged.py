"""Judged pairs in the comparison and in the report."""

import csv
import dataclasses
import re

import pytest

from scripts.lib.benchmarks.judged_pairs.report import EXAMPLE_CHARACTERS
from scripts.lib.benchmarks.judged_pairs.scores import sum_up_judgements
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.judge.files import Reply, load_pairs, write_judgements
from scripts.lib.judge.prompt import judge_prompts
from scripts.lib.report.page import ReportSpec, render_page
from tests.chat_server import longer
from tests.comparison_file import read_comparison
from tests.unit.judged_data import pairs, write_answers, write_prompts

EVIL = "<script>alert(1)</script>"
REMOTE = {"kind": "endpoint", "criteria": None, "endpoint": "https://judge.example/v1"}
LOCAL = {"kind": "local", "criteria": None, "dtype": "float32"}


class Judged:
    """One base, one run and one benchmark, judged by a rule."""

    def __init__(
        self, folder, asked, rule=longer, *, judge=LOCAL, judging="models/big-1", run_tokens="t"
    ):
        self.folder = folder
        base = write_answers(folder / "scores/base", [pair.base for pair in asked])
        run = write_answers(folder / "scores/run", [pair.run for pair in asked], tokens=run_tokens)
        loaded = load_pairs(base, run, write_prompts(folder / "prompts", len(asked)))
        replies = {
            pair.id: tuple(Reply(rule(text)) for text in judge_prompts(pair, None))
            for pair in loaded
            if not pair.equal
        }
        for name in ("judgements/run", "categories/run"):
            (folder / name).mkdir(parents=True)
        write_judgements(loaded, replies, judge, base, run, folder / "judgements/run")
        sum_up_judgements("duel", folder / "judgements/run", folder / "categories/run")
        inputs = {"judge": [{"id": judging, "content": judging}]} if judge is LOCAL else {}
        model = {"model": [{"id": "models/small-1", "content": "models/small-1"}]}
        self.manifests = {
            "scores/base": {"inputs": model},
            "judgements/run": {"inputs": inputs},
        }

    def compare(self, name="gentle", base="small", *, unmerged=False):
        candidates = [
            {"name": base, "kind": "base", "base": None, "unmerged": False, "categories": {}}
            | {"scores": {"duel": ["scores/base"]}, "judgements": {}},
            {"name": name, "kind": "run", "base": base, "unmerged": unmerged}
            | {"scores": {"duel": ["scores/run"]}, "judgements": {"duel": "judgements/run"}}
            | {"categories": {"duel": "categories/run"}},
        ]
        spec = CompareSpec.from_json(
            {"candidates": candidates, "benchmarks": [], "held_out": [], "judged": ["duel"]}
        )
        out = self.folder / "out"
        out.mkdir()
        compare_runs(spec, {"categories/run": self.folder / "categories/run"}, self.manifests, out)
        self.markdown = (out / "comparison.md").read_text()
        with (out / "comparison.csv").open(encoding="utf-8", newline="") as stream:
            self.lines = list(csv.DictReader(stream))
        return read_comparison(out)


def page(document):
    report = {"title": "t", "candidates": [], "legacy": []}
    return render_page(ReportSpec.from_json(report), document, {})


def text_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


BETTER = pairs(
    20, lambda n: f"short {n}", lambda n: f"short {n}" if n == 0 else f"a longer answer {n}"
)


def test_the_comparison_holds_the_figures_by_category_and_examples(tmp_path):
    document = Judged(tmp_path, BETTER).compare()
    duel = document["judged"]["duel"]
    found = duel["candidates"]["gentle"]
    assert (found["base"], found["wins"], found["ties"], found["n"]) == ("small", 19, 1, 20)
    assert (found["verdict"], found["equal"], found["notes"]) == ("better", 1, [])
    assert {name: part["n"] for name, part in found["categories"].items()} == {"art": 10, "law": 10}
    assert (duel["judge"]["model"], duel["judge"]["content"]) == ("big", "models/big-1")
    assert [example["prompt_id"] for example in found["examples"]] == ["prompts:1", "prompts:2"]
    assert found["examples"][0]["base_first"] == "B"
    assert document["benchmarks"] == {}


def test_a_config_without_judged_pairs_has_an_empty_section(tmp_path):
    (tmp_path / "out").mkdir()
    spec = CompareSpec.from_json({"candidates": [], "benchmarks": [], "held_out": [], "judged": []})
    compare_runs(spec, {}, {}, tmp_path / "out")
    assert read_comparison(tmp_path / "out")["judged"] == {}


def test_a_benchmark_that_nobody_was_judged_on_is_no_error(tmp_path):
    (tmp_path / "out").mkdir()
    base = {"name": "small", "kind": "base", "base": None, "unmerged": False}
    base |= {"scores": {}, "categories": {}, "judgements": {}}
    spec = CompareSpec.from_json(
        {"candidates": [base], "benchmarks": [], "held_out": [], "judged": ["duel"]}
    )
    compare_runs(spec, {}, {}, tmp_path / "out")
    document = read_comparison(tmp_path / "out")
    assert document["judged"]["duel"]["candidates"] == {}
    html = page(document)
    assert 'id="judged"' not in html


def test_the_table_and_the_sentence_say_what_the_figures_say(tmp_path):
    judged = Judged(tmp_path, BETTER)
    document = judged.compare()
    html = text_of(page(document))
    assert "gentle is preferred to small on duel." in html
    assert "duel: 19 wins, 0 losses and 1 ties, win rate 97.50 %" in html
    low, high = document["judged"]["duel"]["candidates"]["gentle"]["interval"]
    assert f"{100 * low:.2f} to {100 * high:.2f}" in html
    assert "1 answered alike" in html and "p &lt; 0.001" in page(document)
    assert "judged by a local model (big, float32, files models/big-1)" in html
    assert "| gentle against small | 19 | 0 | 1 | 97.50 (" in judged.markdown
    assert "| law | 9 | 0 | 1 | 95.00 (" in judged.markdown


def test_the_csv_has_a_line_for_the_whole_and_for_each_category(tmp_path):
    judged = Judged(tmp_path, BETTER)
    found = judged.compare()["judged"]["duel"]["candidates"]["gentle"]
    assert [line["category"] for line in judged.lines] == ["Average", "art", "law"]
    for line, part in zip(judged.lines, (found, *found["categories"].values()), strict=True):
        assert (line["candidate"], line["base"], line["kind"]) == ("gentle", "small", "run")
        for key in ("n", "wins", "losses", "ties", "win_rate", "p_value"):
            assert float(line[key]) == part[key]
        assert [float(line[f"win_rate_{end}"]) for end in ("low", "high")] == part["interval"]
        assert (line["verdict"], line["accuracy"]) == (part["verdict"], "")


def test_verdicts_of_a_judge_are_among_the_comparisons_that_luck_may_decide(tmp_path):
    html = text_of(page(Judged(tmp_path, BETTER).compare()))
    assert "The page makes 3 comparisons" in html, "all prompts, and two categories"


def codes(document):
    return [note["code"] for note in document["judged"]["duel"]["candidates"]["gentle"]["notes"]]


def test_a_judge_that_is_the_base_is_said_to_be(tmp_path):
    document = Judged(tmp_path, BETTER, judging="models/small-1").compare()
    assert codes(document) == ["self_preference"]
    # With the answer, and with the table.
    assert page(document).count("The judge is the base model itself") == 2


@pytest.mark.parametrize(
    ("model", "own"), [("acme/Small", True), ("Gentle", True), ("acme/large", False)]
)
def test_a_service_s_model_by_the_name_of_base_or_run_is_said_to_be(tmp_path, model, own):
    document = Judged(tmp_path, BETTER, judge=REMOTE | {"model": model}).compare()
    assert codes(document) == ["self_preference"] * own
    assert f"judged by {model} at https://judge.example/v1" in text_of(page(document))


def test_a_judge_that_looks_at_the_place_only_is_called_so(tmp_path):
    document = Judged(tmp_path, BETTER, lambda text: "A").compare()
    assert codes(document) == ["position_bias", "inconsistent"]
    html = text_of(page(document))
    assert "no decided preference between gentle and small" in html
    assert "(100 % to the first place)" in html


def test_what_the_service_was_asked_without_is_said(tmp_path):
    judge = REMOTE | {"model": "m", "refused": {"temperature": 38, "max_tokens": 2}}
    document = Judged(tmp_path, BETTER, judge=judge).compare()
    assert codes(document) == ["asked_without_max_tokens", "asked_without_temperature"]
    section = document["judged"]["duel"]
    assert section["candidates"]["gentle"]["refused"] == judge["refused"]
    assert "refused" not in section["judge"]
    html = text_of(page(document))
    assert "gentle: The judge's model refuses temperature: 38 of 38 replies came without." in (
        html.replace("&#39;", "'")
    )


def test_a_run_that_was_not_merged_is_called_so(tmp_path):
    document = Judged(tmp_path, BETTER).compare(unmerged=True)
    assert codes(document) == ["unmerged"]
    assert "duel, gentle: Not merged" in text_of(page(document))


def test_a_note_on_several_runs_is_said_once(tmp_path):
    document = Judged(tmp_path, BETTER, judging="models/small-1").compare()
    found = document["judged"]["duel"]["candidates"]
    found["eager"] = found["gentle"]
    assert text_of(page(document)).count("gentle and eager: The judge is the base model") == 2


def test_unreadable_replies_are_counted_where_people_look(tmp_path):
    document = Judged(tmp_path, BETTER, lambda text: "Hm.").compare()
    assert codes(document) == ["unreadable"]
    html = text_of(page(document))
    assert "38 of 38 replies of the judge held no verdict" in html
    assert "20 prompts, 38 replies unreadable" in html


def test_answers_that_were_cut_are_counted_for_either_side(tmp_path):
    asked = pairs(4, lambda n: f"a{n}" + "…" * (n < 3), lambda n: f"longer {n}" + "…" * (n < 1))
    loaded = [
        dataclasses.replace(pair, base_ended=pair.base[-1] != "…", run_ended=pair.run[-1] != "…")
        for pair in asked
    ]
    judged = Judged(tmp_path, loaded)
    document = judged.compare()
    assert codes(document) == ["cut"]
    said = "Cut at 32 tokens: 3 answers of the base and 1 of the tuned model, of 4 each."
    assert said in text_of(page(document)) and said in judged.markdown


def test_answers_are_text_and_long_ones_are_cut_with_a_mark(tmp_path):
    long = "x" * (EXAMPLE_CHARACTERS + 1234)
    asked = pairs(3, lambda n: f"{EVIL} {n}", lambda n: f"{long} {n}")
    html = page(Judged(tmp_path, asked).compare(name="gentle", base="small"))
    assert EVIL not in html
    assert "&lt;script&gt;" in html
    assert "x" * EXAMPLE_CHARACTERS + " [... 1,236 characters more]" in html
    assert long not in html

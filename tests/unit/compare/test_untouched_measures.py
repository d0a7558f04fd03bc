"""Held-out conversations and judged pairs without what stands in training rows."""

import json
import math

import pytest

from scripts.lib.benchmarks.held_out.comparison import compare_held_out
from scripts.lib.benchmarks.judged_pairs.comparison import prompt_lines
from scripts.lib.benchmarks.judged_pairs.scores import JudgedPrompt, part_figures
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.contamination.finding import ContaminationSpec, find_contamination
from scripts.lib.report.card_results import results
from scripts.lib.report.contamination import contamination_view
from tests.comparison_file import read_comparison
from tests.unit.benchmarks.held_out.test_held_out_comparison import (
    AFTER,
    BEFORE,
    COUNT,
    PROTOCOL,
    score,
)
from tests.unit.benchmarks.judged_pairs.test_comparison_judged import BETTER, Judged
from tests.unit.contamination.test_finding import chat_of, lines, row

ASKED_SO = {"shots": 0, "backend": "hf", "on_long_prompt": "error"}
SPEC = {"candidates": [], "benchmarks": [], "held_out": [], "judged": []}


def asked(n: int) -> str:
    """Return what held-out conversation n asks."""
    return " ".join(f"word{n}{letter}" for letter in "abcdefghij") + "?"


def searched(folder, kind, subject, benchmark, chat):
    """Search conversations for the questions of a benchmark; return the folder of what is found."""
    out = folder / "contamination"
    out.mkdir()
    spec = ContaminationSpec(kind=kind, subject=subject, ngram=8, threshold=0.5)
    find_contamination(spec, benchmark, chat, out)
    return out


def told(folder):
    """Return what the comparison says of the only candidate and benchmark, and the whole of it."""
    document = read_comparison(folder)
    ((one,),) = (found.values() for found in document["contamination"]["candidates"].values())
    return one, document


class HeldOut:
    """A base and a run on held-out conversations, some of which are asked in training rows, too."""

    def __init__(self, folder, planted):
        raw = folder / "held"
        lines(raw / "raw/test.jsonl", [row(asked(n), "Held out.") for n in range(COUNT)])
        chat = chat_of(raw, [row("hello"), *(row(asked(n), "Trained.") for n in planted)])
        search = searched(folder, "held_out", "test", chat, chat)
        artifacts = {}
        for name, kept in (("base", BEFORE), ("run", AFTER)):
            place = artifacts[f"categories/{name}"] = folder / name
            document = dict(score(name, kept).document) | {"protocol": PROTOCOL | ASKED_SO}
            lines(place / "own.held_out.jsonl", kept)
            (place / "own.held_out.json").write_text(json.dumps(document))
        candidates = [
            {"name": name, "kind": kind, "base": base, "unmerged": False, "scores": {}}
            | {"judgements": {}, "categories": {"own": f"categories/{name}"}}
            for name, kind, base in (("base", "base", None), ("run", "run", "base"))
        ]
        candidates[1]["searches"] = {"own": ["contamination/own"]}
        spec = CompareSpec.from_json({**SPEC, "candidates": candidates, "held_out": ["own"]})
        self.out = folder / "out"
        self.out.mkdir()
        compare_runs(spec, artifacts, {}, self.out, {"contamination/own": search})


def test_the_loss_of_the_other_conversations_is_what_the_benchmark_says_without_those_found(
    tmp_path,
):
    planted = (3, 7, 20)
    one, document = told(HeldOut(tmp_path, planted).out)
    left = [
        score(name, [line for n, line in enumerate(kept) if n not in planted], base=base)
        for name, kept, base in (("base", BEFORE, None), ("run", AFTER, "base"))
    ]
    expected = compare_held_out("own", left)
    change = expected["differences"]["run"]["loss"]
    measure = one["untouched_measure"]
    assert (one["questions"], one["found"], measure["n"]) == (COUNT, 3, COUNT - 3)
    for name in ("base", "run"):
        loss = expected["candidates"][name]["loss"]
        assert measure[name] == pytest.approx(loss)
    for key in ("difference", "interval", "p_value", "verdict"):
        assert measure[key] == pytest.approx(change[key])
    everywhere = document["held_out"]["own"]["differences"]["run"]["loss"]["difference"]
    assert measure["everywhere"] == everywhere
    assert not math.isclose(measure["difference"], everywhere)
    words = "run, own: 3 of 30 questions stand in the training rows; without them"
    assert words in (tmp_path / "out/comparison.md").read_text()
    assert "nats per token" in contamination_view(document)["rows"][0]["change"]
    assert (
        "own,Average of untouched questions,run," in (tmp_path / "out/comparison.csv").read_text()
    )


@pytest.mark.parametrize("planted", [(), range(COUNT)])
def test_nothing_is_measured_anew_where_none_or_all_were_found(tmp_path, planted):
    one, _ = told(HeldOut(tmp_path, planted).out)
    assert (one["found"], one["untouched_measure"]) == (len(planted), None)


def test_the_win_rate_of_the_other_prompts_is_told_beside_that_of_all(tmp_path):
    judged = Judged(tmp_path, BETTER)
    place = tmp_path / "chats"
    chat = chat_of(place, [row(f"Question {n}?", "Trained.") for n in (0, 5)])
    search = searched(tmp_path, "judged_pairs", None, tmp_path / "prompts", chat)
    candidates = [
        {"name": "small", "kind": "base", "base": None, "unmerged": False, "categories": {}}
        | {"scores": {"duel": ["scores/base"]}, "judgements": {}},
        {"name": "gentle", "kind": "run", "base": "small", "unmerged": False}
        | {"scores": {"duel": ["scores/run"]}, "judgements": {"duel": "judgements/run"}}
        | {"categories": {"duel": "categories/run"}, "searches": {"duel": ["contamination/duel"]}},
    ]
    spec = CompareSpec.from_json({**SPEC, "candidates": candidates, "judged": ["duel"]})
    out, categories = tmp_path / "out", tmp_path / "categories/run"
    out.mkdir()
    places = {"categories/run": categories}
    compare_runs(spec, places, judged.manifests, out, {"contamination/duel": search})
    one, document = told(out)
    prompts = [
        JudgedPrompt(
            category=line["category"],
            equal=line["equal"],
            base_first=line["base_first"]["verdict"],
            run_first=line["run_first"]["verdict"],
        )
        for line in prompt_lines(categories, "duel")
    ]
    figures = part_figures([prompt for n, prompt in enumerate(prompts) if n not in (0, 5)])
    measure = one["untouched_measure"]
    assert (one["questions"], one["found"], measure["n"]) == (20, 2, 18)
    # The tie is among those that were found.
    assert (measure["run"], measure["base"], measure["verdict"]) == (100, 50, figures["verdict"])
    assert measure["interval"] == [100 * end - 50 for end in figures["interval"]]
    everywhere = document["judged"]["duel"]["candidates"]["gentle"]["win_rate"]
    assert measure["everywhere"] == pytest.approx(100 * everywhere - 50)
    assert "points of the win rate (better" in (out / "comparison.md").read_text()
    *_, card = results(document, "gentle")
    assert "- duel: 2 of 20 questions stand in the training rows; without them +50.00" in card
    assert "gentle" not in card

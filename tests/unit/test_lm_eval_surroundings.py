"""Tasks of lm-eval find what they need in the fetched benchmark, and judge alike every time."""

import sys

import pytest

from scripts.lib.errors import ConfigError
from scripts.lib.lm_eval_surroundings import keep_data, surroundings
from tests.punkt import make_punkt

IFEVAL = ["ifeval/ifeval.yaml"]


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """A machine on which nltk has no data and no task was read."""
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "none")])
    monkeypatch.setattr(nltk, "download", lambda name: False)
    forget_tasks(monkeypatch)


def forget_tasks(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.ifeval")]:
        monkeypatch.delitem(sys.modules, name)


def read_task(benchmark):
    with surroundings(benchmark):
        from lm_eval.tasks.ifeval import utils
    return utils


@pytest.fixture
def fetched(monkeypatch, tmp_path, no_data):
    """A benchmark that was fetched on a machine that has nltk's data."""
    import nltk

    there = make_punkt(tmp_path / "there")
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    with monkeypatch.context() as machine:
        machine.setattr(nltk.data, "path", [str(there)])
        read_task(benchmark)
        keep_data(benchmark, IFEVAL)
    there.rename(tmp_path / "elsewhere")
    forget_tasks(monkeypatch)
    return benchmark


def judged(utils, text, instruction, **arguments):
    row = {"key": 1, "prompt": "p", "instruction_id_list": [instruction], "kwargs": [arguments]}
    return utils.process_results(row, [text])["prompt_level_strict_acc"]


def test_sentences_are_told_by_data_that_came_with_the_benchmark(fetched):
    utils = read_task(fetched)
    three = {"relation": "at least", "num_sentences": 3}
    name = "length_constraints:number_sentences"
    assert judged(utils, "One is. Two are. Three are.", name, **three)
    assert not judged(utils, "One is. Two are.", name, **three)
    loud = {"capital_relation": "at least", "capital_frequency": 2}
    name = "change_case:capital_word_frequency"
    assert judged(utils, "TWO WORDS here", name, **loud)
    assert not judged(utils, "ONE here", name, **loud)


def test_missing_data_are_named_with_the_command_that_brings_them(no_data, tmp_path):
    read_task(tmp_path)
    with pytest.raises(ConfigError, match=r"ifeval: needs .* `python -m nltk.downloader"):
        keep_data(tmp_path, IFEVAL)


def test_a_benchmark_without_sentences_keeps_nothing(no_data, tmp_path):
    (tmp_path / "other").mkdir()
    read_task(tmp_path / "other")
    with surroundings(tmp_path):
        from lm_eval.tasks.truthfulqa import utils
    assert utils
    keep_data(tmp_path, ["truthfulqa/truthfulqa_mc1.yaml"])
    (tmp_path / "other").rmdir()
    assert list(tmp_path.iterdir()) == []


def test_languages_are_guessed_alike_every_time(fetched):
    """Unseeded, langdetect calls this English or Dutch."""
    utils = read_task(fetched)
    english = {"language": "en"}
    name = "language:response_language"
    assert len({judged(utils, "hotel on al", name, **english) for _ in range(40)}) == 1

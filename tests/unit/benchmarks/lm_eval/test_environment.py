"""Tasks of lm-eval find what they need in the fetched benchmark, and judge alike every time."""

import os
import re
import shutil
import stat
import subprocess
import sys

import pytest

from scripts.lib.benchmarks.lm_eval.environment import keep_data, local_environment
from scripts.lib.errors import ConfigError
from tests.punkt import make_punkt
from tests.workspace import ROOT

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
    with local_environment(benchmark):
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


def leave_alone(top):
    """As they are fetched."""


def open_to_all(top):
    """Below a folder in which everybody may write."""
    for path in (top, *top.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def open_to_a_group(top):
    """In a cache that was set up for a group, as docs/cache.md says."""
    for path in (top, *top.rglob("*")):
        path.chmod(0o2770 if path.is_dir() else 0o440)


def link_elsewhere(top):
    """In results that are linked into a cache."""
    shutil.copytree(top, top.with_name("linked"), copy_function=os.link)


def give_to_a_colleague(top):
    """In a cache that somebody else filled."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    for path in (top, *top.rglob("*")):
        os.chown(path, 12001, 12001)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
@pytest.mark.parametrize(
    "rights", [leave_alone, open_to_all, open_to_a_group, link_elsewhere, give_to_a_colleague]
)
def test_data_are_read_whoever_may_write_where_the_benchmark_lies(fetched, rights, umask):
    from nltk.tokenize.punkt import PunktTokenizer

    rights(fetched)
    before = os.umask(umask)
    try:
        with local_environment(fetched):
            pass
    finally:
        os.umask(before)
    # nltk itself keeps its first tokenizer for good; this one reads the data.
    assert PunktTokenizer("english").tokenize("One is. Two are.") == ["One is.", "Two are."]


def test_only_this_user_can_change_what_nltk_reads_and_it_goes_with_the_process(fetched, tmp_path):
    """Looked at in a process of its own, whose temporary folder is open to all."""
    open_to_all(fetched)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    program = (
        "import sys, pathlib, nltk\n"
        "from scripts.lib.benchmarks.lm_eval.environment import local_environment\n"
        "with local_environment(pathlib.Path(sys.argv[1])):\n"
        "    place = pathlib.Path(nltk.data.path[0])\n"
        "print(*(f'{p.lstat().st_mode:o}' for p in (place, *place.rglob('*'))), place.parent)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, fetched],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(shared)},
        capture_output=True,
        text=True,
        check=True,
    )
    *modes, parent = done.stdout.split()
    assert parent == str(shared)
    assert len(modes) == 8
    assert not any(int(mode, 8) & (stat.S_IRWXG | stat.S_IRWXO) for mode in modes)
    assert list(shared.iterdir()) == []


def test_the_machines_data_that_nltk_refuses_are_named_with_the_remedy(no_data, tmp_path):
    """The fetch does what it says, and then finds them."""
    import nltk

    there = make_punkt(tmp_path / "none")
    (there / "tokenizers").chmod(0o775)
    with pytest.warns(RuntimeWarning, match="NLTK will not read"):
        read_task(tmp_path)
        with pytest.raises(ConfigError, match=r"ifeval: .* may write to it; run `chmod") as error:
            keep_data(tmp_path, IFEVAL)
    command = re.search(r"`chmod -R go-w (.*?)`", str(error.value))
    assert command[1] == str(there) == nltk.data.path[0]
    subprocess.run(["chmod", "-R", "go-w", command[1]], check=True)
    keep_data(tmp_path, IFEVAL)


def test_data_in_an_archive_will_do(no_data, tmp_path):
    there = make_punkt(tmp_path / "none") / "tokenizers"
    shutil.make_archive(str(there / "punkt_tab"), "zip", there, "punkt_tab")
    (there / "punkt_tab.zip").chmod(0o600)
    plain = {p.name: p.read_bytes() for p in (there / "punkt_tab/english").iterdir()}
    shutil.rmtree(there / "punkt_tab")
    read_task(tmp_path)
    keep_data(tmp_path, IFEVAL)
    kept = tmp_path / "nltk_data/tokenizers/punkt_tab/english"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == plain


def test_missing_data_are_named_with_the_command_that_brings_them(no_data, tmp_path):
    read_task(tmp_path)
    with pytest.raises(ConfigError, match=r"ifeval: needs .* `python -m nltk.downloader"):
        keep_data(tmp_path, IFEVAL)


def test_a_benchmark_without_sentences_keeps_nothing(no_data, tmp_path):
    (tmp_path / "other").mkdir()
    read_task(tmp_path / "other")
    with local_environment(tmp_path):
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

"""`make test` passes whatever the shell was told, below a temporary folder of any kind."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.workspace import ROOT

DECIDES = {
    "TMPDIR": "/nowhere/tmp",
    "TEMP": "/nowhere/tmp",
    "TMP": "/nowhere/tmp",
    "NLTK_DATA": "/nowhere/nltk",
    "HF_HOME": "/proc/nowhere",
    "HF_HUB_OFFLINE": "0",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HF_TOKEN": "nonsense",
    "TRANSFORMERS_OFFLINE": "0",
    "TRANSFORMERS_CACHE": "/proc/nowhere",
    "TOKENIZERS_PARALLELISM": "nonsense",
    "OMP_NUM_THREADS": "64",
    "OMP_WAIT_POLICY": "active",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TUNESMITH_CACHE": "/proc/nowhere",
    "TUNESMITH_DEVICE": "gpu0",
    "TUNESMITH_PLAN": "/nowhere/plan.json",
    "TUNESMITH_SCRATCH": "/proc/nowhere",
    "TUNESMITH_SITE": "/nowhere/site.yaml",
}
"""What a shell may have been told, and a plain login was not."""

OF_THE_MACHINE = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_INDEX_URL",
    "PIP_CERT", "UV_DEFAULT_INDEX", "UV_SYSTEM_CERTS", "http_proxy", "https_proxy", "no_proxy",
    "HTTPS_PROXY", "TUNESMITH_REAL_DATA", "HOME", "PATH",
)  # fmt: skip

DEPENDENT = (
    "tests/unit/benchmarks/lm_eval/test_environment.py::"
    "test_sentences_are_told_by_data_that_came_with_the_benchmark",
    "tests/unit/train/test_training.py::test_without_held_out_rows_the_run_goes_on_without_them",
    "tests/cache/test_race.py::test_the_loser_of_a_race_takes_the_winners_bytes",
)
"""Tests of nltk's data, of a model on a device, and of several users of one folder."""


def make(*arguments: str, **environ: str) -> str:
    """Run make in a shell that was told *environ*, and return what it printed."""
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**inherited, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def names_left(*arguments: str, **environ: str) -> dict[str, str]:
    """Return the variables that tests find."""
    printed = make("-s", "--eval", "seen: ; @$(PLAIN_LOGIN) env", "seen", *arguments, **environ)
    return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)


def test_tests_find_nothing_of_what_this_shell_alone_was_told():
    assert not set(names_left(**DECIDES)) & set(DECIDES)


def test_tests_find_what_belongs_to_the_machine():
    told = {name: f"{name} of this machine" for name in OF_THE_MACHINE if name != "PATH"}
    left = names_left(**DECIDES, **told)
    assert {name: left.get(name) for name in told} == told
    assert left["PATH"] == os.environ["PATH"]


def test_a_folder_for_temporary_files_is_named_to_make_itself(tmp_path):
    assert names_left(f"BELOW={tmp_path}", **DECIDES)["TMPDIR"] == str(tmp_path)


@pytest.mark.parametrize("target", ["test", "test-unit", "test-long"])
def test_every_target_that_runs_tests_begins_as_after_a_plain_login(target):
    printed = make("-n", target, **DECIDES)
    (line,) = [line for line in printed.splitlines() if "pytest" in line]
    cleared = {word for word in line.partition(" -m pytest")[0].split() if word in DECIDES}
    assert line.startswith("env -u ")
    assert cleared == set(DECIDES)


@pytest.fixture(params=[0o1777, 0o700], ids=["shared", "private"])
def below(request):
    """A temporary folder of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="tunesmith-"))
    folder.chmod(request.param)
    yield folder
    shutil.rmtree(folder)


def test_what_depended_on_the_temporary_folder_passes_below_any_kind(below):
    printed = make(
        "-o", "env", "test-unit", f"TESTS={' '.join(DEPENDENT)}", f"BELOW={below}", **DECIDES
    )
    assert "4 passed" in printed
    assert any(below.iterdir())

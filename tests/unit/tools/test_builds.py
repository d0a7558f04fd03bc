"""`make env` brings another build of PyTorch when told, and keeps to it; a stand-in for uv writes
down what it is asked, since no other build can be fetched here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lib.artifacts.pins import read_lock
from tests.workspace import ROOT

UV = """#!/bin/sh
echo "$*" >> asked
[ "$2" = compile ] || exit 0
while [ "$1" != -o ]; do
  [ "$1" = --constraint ] && cp "$2" constraints
  [ "$1" = --torch-backend ] && build=$2
  shift
done
sed "s/^torch==[0-9.]*/&+$build/" requirements.lock > "$2"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose environment has the lock installed."""
    (tmp_path / "scripts/tools").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "scripts/tools/environment.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "python").symlink_to(sys.executable)
    (tools / "uv").write_text(UV)
    (tools / "uv").chmod(0o755)
    shutil.copy(ROOT / "requirements.lock", tmp_path / ".venv" / "installed.lock")
    return tmp_path


def make(clone: Path, *arguments: str, **environ: str) -> list[str]:
    """Run make and return what uv was asked to do."""
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    asked = clone / "asked"
    asked.write_text("")
    subprocess.run(
        ["make", *arguments], cwd=clone, env={**inherited, **environ}, check=True, timeout=60
    )
    return asked.read_text().splitlines()


def installed(clone: Path) -> str:
    return (clone / ".venv" / "installed.lock").read_text()


def test_with_the_lock_installed_there_is_nothing_to_do(clone):
    assert make(clone, "env") == []
    assert make(clone, "env", BUILD="of somebody's shell") == []


def test_another_build_is_locked_and_installed_with_all_else_as_it_is(clone):
    locked, synced = make(clone, "env", "BUILD=cu126")
    assert "--torch-backend cu126" in locked and "--generate-hashes" in locked
    assert synced.endswith("--torch-backend cu126 requirements.cu126.lock")
    assert "+cu126" in installed(clone)
    assert read_lock(clone / "requirements.cu126.lock") == read_lock(clone / "requirements.lock")


def test_every_version_but_those_of_cuda_itself_is_held(clone):
    make(clone, "env", "BUILD=cu126")
    held, lock = read_lock(clone / "constraints"), read_lock(ROOT / "requirements.lock")
    free = {name for name in lock if name.startswith(("cuda-", "nvidia-", "triton"))}
    assert held == {name: version for name, version in lock.items() if name not in free}
    assert {"torch", "transformers"} <= set(held) and free


def test_a_later_make_keeps_to_the_build(clone):
    make(clone, "env", "BUILD=cpu")
    assert make(clone, "env") == []
    assert "+cpu" in installed(clone)


def test_a_changed_lock_is_installed_in_the_same_build(clone):
    make(clone, "env", "BUILD=cpu")
    lock = clone / "requirements.lock"
    lock.write_text(lock.read_text() + "another==1 \\\n    --hash=sha256:00\n")
    after = (clone / "requirements.cpu.lock").stat().st_mtime + 10
    os.utime(lock, (after, after))
    locked, synced = make(clone, "env")
    assert "--torch-backend cpu" in locked and "--torch-backend cpu" in synced
    assert "another==1" in installed(clone) and "+cpu" in installed(clone)


def test_the_locks_own_build_comes_back_when_told(clone):
    make(clone, "env", "BUILD=cpu")
    (synced,) = make(clone, "env", "BUILD=lock")
    assert synced.endswith(" requirements.lock") and "--torch-backend" not in synced
    assert make(clone, "env") == []
    assert installed(clone) == (ROOT / "requirements.lock").read_text()

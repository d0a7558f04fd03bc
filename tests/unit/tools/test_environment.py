"""A .venv that is broken is told and mended by `make env`: real uv, two tiny packages."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.workspace import ROOT

# Like `python3 -m venv`, but without fetching uv.
PYTHON = """#!/bin/sh
[ "$1" = -m ] || exec {python} "$@"
{python} -m venv --without-pip "$3" && ln -s {uv} "$3/bin/uv"
"""


def wheel(folder: Path, name: str) -> Path:
    """Write a package with a module and a command, and return its file."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{name}/main.py": f"def main():\n    print('{name} runs')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}.main:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    place = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return place


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with an environment."""
    folder = tmp_path / "clone"
    (folder / "scripts/tools").mkdir(parents=True)
    for name in ("Makefile", "scripts/tools/environment.py"):
        shutil.copy(ROOT / name, folder / name)
    lock = "".join(f"{name} @ {wheel(tmp_path, name).as_uri()}\n" for name in ("one", "two"))
    (folder / "requirements.lock").write_text(lock)
    python = tmp_path / "python"
    uv = Path(sys.executable).with_name("uv")
    python.write_text(PYTHON.format(python=sys.executable, uv=uv))
    python.chmod(0o755)
    assert make(folder).returncode == 0
    assert works(folder) and said(make(folder)) == ""
    return folder


def make(clone: Path, python: str = "python") -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("MAKE", "UV_"))}
    above = clone.parent
    return subprocess.run(
        ["make", "env", f"PYTHON={above / python}"],
        cwd=clone,
        env={**kept, "UV_OFFLINE": "1", "UV_CACHE_DIR": str(above / "uv"), "UV_LINK_MODE": "copy"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def packages(clone: Path) -> Path:
    (folder,) = (clone / ".venv/lib").glob("python*/site-packages")
    return folder


def works(clone: Path) -> bool:
    """Tell whether the commands of both packages run, by this clone's own Python."""
    for name in ("one", "two"):
        command = clone / ".venv/bin" / name
        try:
            done = subprocess.run([command], capture_output=True, text=True, check=False)
        except OSError:  # the Python that it names is not there
            return False
        first = command.read_text().splitlines()
        if done.stdout != f"{name} runs\n" or str(clone) not in "".join(first[:2]):
            return False
    return True


def test_a_folder_that_was_moved(clone: Path) -> None:
    moved = clone.rename(clone.with_name("elsewhere"))
    assert not works(moved)
    assert f".venv was installed in {clone}/.venv" in said(make(moved))
    assert works(moved) and said(make(moved)) == ""


def test_a_folder_that_was_copied_does_not_run_the_code_of_the_other(clone: Path) -> None:
    copied = shutil.copytree(clone, clone.with_name("copy"), symlinks=True)
    assert "is made anew" in said(make(copied))
    assert works(copied) and works(clone)


def test_an_interpreter_that_is_gone(clone: Path) -> None:
    for link in (clone / ".venv/bin").glob("python*"):
        link.unlink()
    (clone / ".venv/bin/python").symlink_to("/nowhere/python3")
    assert "is gone or does not start" in said(make(clone))
    assert works(clone) and said(make(clone)) == ""


def test_an_interpreter_of_another_version(clone: Path) -> None:
    record = clone / ".venv/made.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"python": "3.1"}))
    assert "for Python 3.1, and is run by" in said(make(clone))
    assert works(clone)


@pytest.mark.parametrize("lost", ["one", "one-1.0.dist-info", "one-1.0.dist-info/RECORD"])
def test_a_package_that_was_deleted(clone: Path, lost: str) -> None:
    place = packages(clone) / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert "has lost files of one" in said(make(clone))
    assert works(clone) and said(make(clone)) == ""


def test_an_install_that_was_killed(clone: Path) -> None:
    """As it is while uv runs: the mark is there, and anything may be half there."""
    (clone / ".venv/unfinished").touch()
    shutil.rmtree(packages(clone) / "two")
    (packages(clone) / "two-1.0.dist-info/METADATA").unlink()
    assert "ended before it was done" in said(make(clone))
    assert works(clone) and said(make(clone)) == ""


def test_an_install_that_uv_refuses_leaves_what_was_there(clone: Path) -> None:
    lock = clone / "requirements.lock"
    before = lock.read_text()
    lock.write_text(before + f"three @ {(clone / 'three-1.0-py3-none-any.whl').as_uri()}\n")
    assert make(clone).returncode != 0
    assert works(clone)
    lock.write_text(before)
    assert said(make(clone)) == "" and works(clone)


def test_a_python_that_is_too_old_is_told(clone: Path) -> None:
    shutil.rmtree(clone / ".venv")
    old = clone.parent / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(clone, "old")
    assert done.returncode != 0 and "is older than Python 3.11" in done.stdout

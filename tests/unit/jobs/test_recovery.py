"""What a killed workflow left behind is cleared; what lives is left alone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from scripts.lib.errors import RecoveryError
from scripts.lib.jobs import killed_workflows as recovery


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a lock of Snakemake's."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.output.lock").write_text("results/x\n")
    return tmp_path


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose files are jobs, as squeue and scancel on the PATH see them."""
    jobs, tools = tmp_path / "jobs", tmp_path / "bin"
    jobs.mkdir()
    tools.mkdir()
    names = "$(echo \"$@\" | sed -E 's/.*-n ([^ ]+) .*/\\1/' | tr ',' '|')"
    (tools / "squeue").write_text(
        f'#!/bin/sh\ncd {jobs} && grep -lE "^({names})$" * 2>/dev/null; true'
    )
    (tools / "scancel").write_text(f"#!/bin/sh\ncd {jobs} && rm -f $@\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return jobs


def note_of_the_dead(folder: Path, slurm: str | None = None) -> str:
    """Leave the note of a process that has ended."""
    code = (
        "import sys; from pathlib import Path;"
        "from scripts.lib.jobs.killed_workflows import register;"
        "print(register(Path(sys.argv[1]), sys.argv[2] or None))"
    )
    command = [sys.executable, "-c", code, str(folder), slurm or ""]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_lock_of_a_killed_workflow_is_released(folder, capsys):
    note_of_the_dead(folder / "notes")
    recovery.recover(folder / "notes", folder / "locks")
    assert not (folder / "locks").exists()
    assert "released" in capsys.readouterr().err
    assert list((folder / "notes").iterdir()) == []


def test_a_lock_without_a_note_is_left_to_its_owner(folder):
    recovery.recover(folder / "notes", folder / "locks")
    assert (folder / "locks").exists()


def test_the_lock_stays_while_another_workflow_lives(folder):
    note_of_the_dead(folder / "notes")
    recovery.register(folder / "notes", None)
    recovery.recover(folder / "notes", folder / "locks")
    assert (folder / "locks").exists()
    assert len(list((folder / "notes").iterdir())) == 1


def test_a_workflow_on_another_machine_is_taken_to_be_alive_and_told(folder, capsys):
    """After a kill on another login node: only there it can be seen that it is gone."""
    token = note_of_the_dead(folder / "notes")
    path = folder / "notes" / f"{token}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))
    recovery.recover(folder / "notes", folder / "locks")
    assert path.exists() and (folder / "locks").exists()
    assert "elsewhere" in capsys.readouterr().err


def test_a_process_id_that_another_process_got_since_is_no_owner(folder):
    token = recovery.register(folder / "notes", None)
    path = folder / "notes" / f"{token}.json"
    started = psutil.Process().create_time() - 60
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": started}))
    recovery.recover(folder / "notes", folder / "locks")
    assert not path.exists()


def test_only_the_jobs_of_the_killed_workflow_are_cancelled(folder, slurm, capsys):
    for id, name in {
        "11": "tunesmith_dead",
        "12": "tunesmith_dead",
        "13": "tunesmith_live",
    }.items():
        (slurm / id).write_text(name)
    recovery.register(folder / "notes", "tunesmith_live")
    note_of_the_dead(folder / "notes", "tunesmith_dead")
    recovery.recover(folder / "notes", folder / "locks")
    assert [job.name for job in slurm.iterdir()] == ["13"]
    assert "11 12" in capsys.readouterr().err


def test_a_slurm_that_does_not_answer_stops_the_start(folder, slurm):
    note_of_the_dead(folder / "notes", "tunesmith_dead")
    squeue = slurm.parent / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    with pytest.raises(RecoveryError, match="no controller"):
        recovery.recover(folder / "notes", folder / "locks")
    assert len(list((folder / "notes").iterdir())) == 1


def test_without_slurm_s_commands_it_is_said_what_may_still_run(folder, monkeypatch):
    """Started again on a machine that has them not, or before their module is loaded."""
    note_of_the_dead(folder / "notes", "tunesmith_dead")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(RecoveryError, match="squeue is not on the PATH"):
        recovery.recover(folder / "notes", folder / "locks")
    assert len(list((folder / "notes").iterdir())) == 1


def test_jobs_that_do_not_end_are_named(folder, slurm):
    (slurm / "11").write_text("tunesmith_dead")
    (slurm.parent / "bin" / "scancel").write_text("#!/bin/sh\n")
    with pytest.raises(RecoveryError, match="11"):
        recovery.cancel_jobs(["tunesmith_dead"], seconds=0)


def test_a_lock_of_a_living_workflow_is_told_with_its_process_and_no_way_around_it(folder):
    recovery.register(folder / "notes", None)
    words = recovery.lock_words(folder / "notes")
    assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in words
    assert f"kill -INT {os.getpid()}" in words
    assert "Do not use --unlock" in words


def test_a_lock_of_a_workflow_elsewhere_is_told_with_where_to_look(folder):
    token = note_of_the_dead(folder / "notes")
    path = folder / "notes" / f"{token}.json"
    note = {**json.loads(path.read_text()), "host": "elsewhere"}
    path.write_text(json.dumps(note))
    words = recovery.lock_words(folder / "notes")
    assert f"process {note['pid']} on elsewhere, since 20" in words
    assert f"look on elsewhere (ps -p {note['pid']})" in words
    assert "it cannot be seen whether it still runs" in words


def test_a_lock_without_a_note_may_be_released_where_nothing_runs(folder):
    words = recovery.lock_words(folder / "notes")
    assert "no Snakemake runs in this folder, on any machine" in words


def test_who_makes_the_same_is_named_and_who_makes_something_else_is_not(folder):
    """Snakemake's lock knows the tokens of batches, not what is in them."""
    notes = folder / "notes"
    mine = recovery.register(notes, None, ["scores/a", "scores/b"])
    recovery.register(notes, None, ["scores/c"])
    note_of_the_dead(notes)
    assert recovery.rival_words(notes, mine) is None
    other = recovery.register(notes, None, ["scores/b", "scores/d"])
    words = recovery.rival_words(notes, mine)
    assert f"process {os.getpid()} on {socket.gethostname()}" in words
    assert "Wait until it has ended" in words
    assert "remove" not in words
    path = notes / f"{other}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))
    assert f"or remove {path}" in recovery.rival_words(notes, mine)
    recovery.unregister(notes, other)
    assert recovery.rival_words(notes, mine) is None


def test_a_note_of_an_earlier_version_is_no_rival(folder):
    notes = folder / "notes"
    mine = recovery.register(notes, None, ["scores/a"])
    other = recovery.register(notes, None)
    path = notes / f"{other}.json"
    note = json.loads(path.read_text())
    del note["makes"]
    path.write_text(json.dumps(note))
    assert recovery.rival_words(notes, mine) is None

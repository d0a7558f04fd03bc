"""What a killed workflow leaves behind, cleared before the next one plans: its lock and its jobs.

    results/.workflows/<token>.json    a workflow that runs: {"host", "pid", "started", "slurm",
                                       "makes"}

Snakemake killed with -9 (or by a power cut) leaves its lock in .snakemake/locks, and on Slurm its
jobs go on: started again, it would refuse to run, and once unlocked it would submit the same jobs a
second time, beside those that still run. A workflow therefore leaves a note while it lives, with
the name that all its Slurm jobs share. Only what belongs to a workflow whose process is gone is
cleared; the jobs of another workflow, in this folder or elsewhere, are never touched.
"""

import contextlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from scripts.lib import files
from scripts.lib.errors import RecoveryError

CANCEL_SECONDS = 300
"""How long cancelled jobs may take to save their checkpoints (Slurm's KillWait, and its queue)."""


def register(folder: Path, slurm: str | None, makes: Collection[str] = ()) -> str:
    """Leave the note of this process and return its token.

    Args:
        folder: Where the notes are.
        slurm: The name of its Slurm jobs; None when it submits none.
        makes: What its jobs make that Snakemake, and so its lock, does not know of.
    """
    token = secrets.token_hex(4)
    process = psutil.Process()
    note = {
        "host": socket.gethostname(),
        "pid": process.pid,
        "started": process.create_time(),
        "slurm": slurm,
        "makes": sorted(makes),
    }
    files.write_json(folder / f"{token}.json", note)
    return token


def unregister(folder: Path, token: str) -> None:
    """Take the note away: this workflow has ended, and its jobs with it."""
    (folder / f"{token}.json").unlink(missing_ok=True)


def rival_words(folder: Path, token: str) -> str | None:
    """Say who else makes what the workflow of a note is about to make, and what to do.

    Args:
        folder: Where the notes are.
        token: Of the workflow that asks; its note is there.

    Returns:
        None where nobody does.
    """
    notes = dict(_notes(folder))
    makes = set(notes.pop(token)["makes"])
    rivals = {
        other: note
        for other, note in notes.items()
        if makes & set(note.get("makes", ())) and not _is_gone(note)
    }
    if not rivals:
        return None
    text = (
        "Another workflow in this folder makes some of the same scores:"
        f" {'; '.join(map(_who, rivals.values()))}. Nothing was started. Wait until it has ended,"
        " then start again: what it has made is not made again."
    )
    away = {t: n for t, n in rivals.items() if n["host"] != socket.gethostname()}
    if away:
        files_there = " ".join(str(folder / f"{token}.json") for token in away)
        text += (
            f" From {socket.gethostname()} it cannot be seen whether it still runs: if it does not,"
            f" start again where it was started, or remove {files_there}."
        )
    return text


def recover(folder: Path, locks: Path) -> None:
    """Clear what workflows that are gone left behind; say on stderr what was done.

    Args:
        folder: Where the notes are.
        locks: Snakemake's folder of lock files.

    Raises:
        RecoveryError: when jobs of a workflow that is gone cannot be seen, or do not end.
    """
    notes = dict(_notes(folder))
    for host in sorted({note["host"] for note in notes.values()} - {socket.gethostname()}):
        _say(
            f"a workflow that was started on {host} is at work in this folder, or was killed: if it"
            f" was, start again on {host}, where its lock is released and its jobs are cancelled"
        )
    gone = [token for token, note in notes.items() if _is_gone(note)]
    if not gone:
        return
    cancel_jobs([name for token in gone if (name := notes[token]["slurm"])])
    # Snakemake does not say whose a lock is. While another workflow may live here, it stays.
    if len(gone) == len(notes) and locks.is_dir():
        shutil.rmtree(locks)
        _say("an earlier workflow in this folder was killed: its lock was released")
    for token in gone:
        unregister(folder, token)


def lock_words(folder: Path) -> str:
    """Say who holds the lock that Snakemake found, and what to do.

    Args:
        folder: Where the notes are.
    """
    alive = [note for _, note in _notes(folder) if not _is_gone(note)]
    here = [note for note in alive if note["host"] == socket.gethostname()]
    if here:
        return (
            f"Another workflow is running in this folder: {'; '.join(map(_who, here))}. Nothing was"
            " started. Wait until it has ended, or stop it (kill -INT"
            f" {' '.join(str(note['pid']) for note in here)}), then start again. Do not use"
            " --unlock: both would write the same files."
        )
    if alive:
        hosts = " or ".join(sorted({note["host"] for note in alive}))
        return (
            "Another workflow was started in this folder and has not said that it ended:"
            f" {'; '.join(map(_who, alive))}. From {socket.gethostname()} it cannot be seen"
            f" whether it still runs: look on {hosts} (ps -p"
            f" {','.join(str(note['pid']) for note in alive)}). If it runs, wait until it has"
            f" ended. If not, start again on {hosts}, where its lock is released and its jobs are"
            " cancelled; or use --unlock here, if none of its jobs runs any more."
        )
    return (
        "A Snakemake that left no note has locked files of this folder: it is just starting or"
        " ending, or was killed while it did. Start again in a minute. If the lock is still there"
        " and no Snakemake runs in this folder, on any machine, release it with --unlock."
    )


def _who(note: Mapping[str, Any]) -> str:
    """Name the process of a note."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(note["started"]))
    return f"process {note['pid']} on {note['host']}, since {since}"


def cancel_jobs(names: list[str], seconds: float = CANCEL_SECONDS) -> None:
    """Cancel the Slurm jobs of these names and wait until they have ended.

    Raises:
        RecoveryError: when Slurm does not answer, or a job has not ended after *seconds*.
    """
    if not names or not (jobs := _jobs(names)):
        return
    _say(f"cancelling {len(jobs)} Slurm job(s) of a workflow that was killed: {' '.join(jobs)}")
    subprocess.run(["scancel", *jobs], check=False)
    end = time.monotonic() + seconds
    while jobs := _jobs(names):
        if time.monotonic() > end:
            raise RecoveryError(
                f"Slurm job(s) {' '.join(jobs)} of a workflow that was killed do not end: look at"
                " them with squeue, cancel them with scancel, then start again"
            )
        time.sleep(1)


def _notes(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield token and note of every workflow that did not take its note away."""
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            yield path.stem, files.read_json(path)


def _is_gone(note: Mapping[str, Any]) -> bool:
    """Tell whether the process of a note has ended; of another machine nobody here can tell."""
    if note["host"] != socket.gethostname():
        return False
    try:
        started: float = psutil.Process(note["pid"]).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(started - float(note["started"])) > 1.0


def _jobs(names: list[str]) -> list[str]:
    """Return the ids of the jobs of these names that have not ended."""
    if shutil.which("squeue") is None:
        raise RecoveryError(
            "squeue is not on the PATH; Slurm jobs of an earlier workflow, which was killed, may"
            " still run, so nothing was started: load Slurm's module and try again"
        )
    result = subprocess.run(
        ["squeue", "-h", "--me", "-t", "PD,R,CG,S,CF,SO", "-n", ",".join(names), "-o", "%i"],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RecoveryError(
            f"squeue does not answer ({result.stderr.strip()}); jobs of an earlier workflow, which"
            " was killed, may still run, so nothing was started: try again when Slurm is back"
        )
    return result.stdout.split()


def _say(text: str) -> None:
    """Print one line for the person who started the workflow."""
    print(text, file=sys.stderr, flush=True)

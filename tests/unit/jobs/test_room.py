"""A disk, a quota or a limit without room ends a job in one sentence, and a new start goes on."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import fetch_benchmark, fetch_dataset, fetch_model, format_chat, render_shards
from scripts.lib.errors import ConfigError, MergeError, RoomError
from scripts.lib.jobs.output import room_words, telling_of_room
from scripts.lib.plan.invocation import plan_invocation
from scripts.lib.plan.missing import read_frozen
from scripts.tools.frozen_commands import commands
from tests.programs import make
from tests.workspace import ROOT, make_workspace, read_config

# Each library's own way to write, and what it says when it cannot.
WRITERS = """
import json, sys
from pathlib import Path
import datasets, pyarrow as pa, pyarrow.parquet as pq, torch
from safetensors.torch import save_file
from scripts.lib.jobs.output import lack_of_room

size = 4 << 20
block = torch.rand(size // 4)
table = pa.table({"a": block.numpy()})
writers = {
    "open": lambda p: p.write_bytes(bytes(size)),
    "json": lambda p: p.write_text(json.dumps("x" * size)),
    "safetensors": lambda p: save_file({"a": block}, p),
    "torch.save": lambda p: torch.save({"a": block}, p),
    "pyarrow": lambda p: pq.write_table(table, p, compression="none"),
    "datasets": lambda p: datasets.Dataset(table).to_parquet(p, use_content_defined_chunking=False),
    "datasets' cache": lambda p: datasets.Dataset(table).map(
        lambda rows: {"b": rows["a"]}, batched=True, batch_size=100_000, cache_file_name=str(p)
    ),
}
told = {}
for name, write in writers.items():
    place = Path(sys.argv[1]) / "file.arrow"
    try:
        write(place)
        told[name] = "written"
    except Exception as error:
        found = lack_of_room(error)
        told[name] = found.reason if found else f"{type(error).__name__}: {error}"
    place.unlink(missing_ok=True)
print(json.dumps(told))
"""


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """Mount a small file system at *place*; skip where this user may not."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def limited(size: int):
    """Return what makes a new process write no file larger than *size*."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def told_by_writers(folder: Path, **options) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        **options,
    )
    return json.loads(done.stdout.splitlines()[-1])


def check_told(told: dict[str, str], reason: str) -> None:
    # PyTorch's own writer does not say why it could not write.
    cut_short = "a file could not be written to its end, as when a disk is full"
    assert told.pop("torch.save") in (reason, cut_short)
    assert set(told.values()) == {reason}, told


def test_every_library_s_word_for_a_full_disk_is_understood(tmp_path):
    with small_disk(tmp_path / "disk", "2m"):
        check_told(told_by_writers(tmp_path / "disk"), "the file system is full")


def test_every_library_s_word_for_a_limit_on_files_is_understood(tmp_path):
    told = told_by_writers(tmp_path, preexec_fn=limited(1 << 20))
    check_told(told, "a file would be larger than the limit allows")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_began_an_error_counts_however_it_is_wrapped(tmp_path, number):
    with pytest.raises(RoomError) as caught, telling_of_room("fetch_dataset", "raw/x", [tmp_path]):
        try:
            raise OSError(number, os.strerror(number), str(tmp_path / "rows"))
        except OSError as error:
            try:
                raise RuntimeError("a step failed") from error
            except RuntimeError as wrapped:
                raise ConfigError("the hub cannot be reached") from wrapped
    text = str(caught.value)
    assert text.startswith("raw/x cannot be written: ")
    assert str(tmp_path / "rows") in text and "iB at " in text and "run again" in text
    assert "hub" not in text


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "Permission denied", "x"),
        OSError(errno.EIO, "Input/output error"),
        RuntimeError("CUDA out of memory"),
        RuntimeError("413 Client Error: File too large for url: http://127.0.0.1/v1"),
        ValueError("row 28 is wrong, error 27"),
        ConfigError("no file"),
    ],
)
def test_other_errors_stay_what_they_are(tmp_path, error):
    with pytest.raises(type(error)) as caught, telling_of_room("rule", "a/b", [tmp_path]):
        raise error
    assert caught.value is error


def test_merging_says_itself_how_much_it_needs(tmp_path):
    with pytest.raises(MergeError, match="takes 3 GiB"), telling_of_room("r", "a/b", [tmp_path]):
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as error:
            raise MergeError("it takes 3 GiB") from error


def test_the_fullest_file_system_comes_first(tmp_path):
    with small_disk(tmp_path / "disk", "1m"):
        error = OSError(errno.ENOSPC, "No space left on device")
        places = [tmp_path / "other" / "folder", tmp_path / "disk" / "new", tmp_path / "disk"]
        words = room_words("train_adapter", "adapters/x", error, places)
    assert words is not None
    free = words.partition("Free now: ")[2]
    assert free.startswith(f"1.0 MiB at {tmp_path / 'disk'}, ")
    assert free.count("iB at ") == 2
    assert "training goes on from its last checkpoint" in words


# The real programs, in a workspace whose earlier stages are made.

EPOCHS = 400
MAKERS = {
    "models": fetch_model,
    "raw": fetch_dataset,
    "benchmarks": fetch_benchmark,
    "chat": format_chat,
    "shards": render_shards,
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return a workspace that has all that training and scoring read, and the frozen plan."""
    folder = make_workspace(tmp_path_factory.mktemp("ws"))
    config = read_config(folder)
    config["runs"] = {"low": config["runs"]["low"]}
    config["runs"]["low"]["training"]["epochs"] = EPOCHS
    config["benchmarks"] = {"mmlu": config["benchmarks"]["mmlu"]}
    before = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TUNESMITH_CACHE", "")
            plan = plan_invocation(config, ROOT).file
            for stage, program in MAKERS.items():
                make(plan, stage, program)
    finally:
        os.chdir(before)
    return folder, plan


def start(workspace, rule, stage, scratch, **options):
    """Start a program; return it and its artifact's manifest."""
    folder, plan = workspace
    planned = read_frozen(folder / plan)["artifacts"]
    (job,) = [
        job
        for job in commands(folder / plan, stage)
        if planned[job.ids[0]]["reads"]["model"][0][0].startswith("models/")
    ]
    id = job.ids[0]
    process = subprocess.Popen(
        [sys.executable, "-m", f"scripts.{rule}", "--plan", str(plan), *job.argv[2:]],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TUNESMITH_SCRATCH": str(scratch),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    return process, folder / "results" / f"{id}.json"


def end(process):
    output, _ = process.communicate()
    return process.returncode, output


def stop_in_training(process):
    """Ask a training to end once it is at it; return how it ended and what it printed."""
    said = []
    for line in process.stdout:
        said.append(line)
        if "step" in line and "loss" in line:
            process.send_signal(signal.SIGTERM)
            break
    status, rest = end(process)
    return status, "".join(said) + rest


def check_sentence(status, output, *words):
    """One sentence: how much is free, what to do, and no traceback."""
    assert status == 1, output
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "cannot be written" in line]
    assert [word for word in (*words, "Free now", "run again") if word not in line] == []


def test_training_on_a_full_disk_tells_and_goes_on_from_its_checkpoint(workspace, tmp_path):
    scratch = tmp_path / "scratch"
    with small_disk(scratch, "8m"):
        status, output = stop_in_training(start(workspace, "train_adapter", "adapters", scratch)[0])
        assert status == 1 and "the next start goes on from there" in output
        (kept,) = scratch.rglob("checkpoint-*")

        filler = fill(scratch, left=0)
        process, manifest = start(workspace, "train_adapter", "adapters", scratch)
        check_sentence(
            *stop_in_training(process),
            "train_adapter: adapters/",
            "training goes on from its last checkpoint",
        )
        assert not manifest.exists()

        filler.unlink()
        status, output = stop_in_training(start(workspace, "train_adapter", "adapters", scratch)[0])
        assert f"going on from {kept.name}" in output


@pytest.mark.slow
def test_training_under_a_limit_on_files_tells(workspace, tmp_path):
    process, manifest = start(
        workspace, "train_adapter", "adapters", tmp_path, preexec_fn=limited(4096)
    )
    check_sentence(*end(process), "train_adapter: adapters/", "ulimit -f")
    assert not manifest.exists()


def fill(disk: Path, left: int) -> Path:
    """Fill a file system but for *left* bytes; return what fills it."""
    filler = disk / "filler"
    stat = os.statvfs(disk)
    filler.write_bytes(bytes(stat.f_bavail * stat.f_frsize - left))
    return filler


def test_scoring_on_a_full_disk_tells_and_goes_on_when_there_is_room(workspace, tmp_path):
    scratch = tmp_path / "scratch"
    with small_disk(scratch, "1m"):
        filler = fill(scratch, left=0)
        process, manifest = start(workspace, "score_benchmark", "scores", scratch)
        words = ("score_benchmark: batches/", "keeps finished subjects and goes on", str(scratch))
        check_sentence(*end(process), *words)
        assert not manifest.exists()

        filler.unlink()
        status, output = end(start(workspace, "score_benchmark", "scores", scratch)[0])
        assert status == 0, output
        assert manifest.exists()


@pytest.mark.slow
def test_scoring_under_a_limit_on_files_tells(workspace, tmp_path):
    shutil.rmtree(workspace[0] / "results/scores", ignore_errors=True)
    process, _ = start(workspace, "score_benchmark", "scores", tmp_path, preexec_fn=limited(256))
    check_sentence(*end(process), "score_benchmark: batches/", "ulimit -f")

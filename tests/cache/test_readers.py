"""Tidying pulls nothing from under a running reader; a dead one holds nothing for ever."""

import os
import shutil
import signal
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.artifacts import cache_upkeep, in_use
from scripts.lib.artifacts.cache_upkeep import GRACE_SECONDS as DAY_SECONDS
from scripts.lib.artifacts.store import Store
from scripts.lib.jobs.job import Job
from scripts.lib.plan.missing import make_plan
from tests.cache.people import Person, graph_of, plan, run, workflow, write_own


@pytest.fixture
def raw(cache, project, team, commons) -> list[Path]:
    """The entries of two raw datasets that ann published; nothing was made of them yet."""
    ann = team[0]
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    shutil.rmtree(cache / "chat")
    return sorted(cache.glob("raw/[!.]*"))


def age(*entries: Path) -> None:
    """Let two days pass since the last use."""
    long_ago = time.time() - 2 * DAY_SECONDS
    for entry in entries:
        os.utime(entry, (long_ago, long_ago))


def give_up_all(cache: Path) -> list[Path]:
    """Give up every entry that tidying would, whatever it weighs; return which."""
    now = time.time()
    found = [item for item in cache_upkeep.items(cache) if item.kind == "entry"]
    return [item.path for item in cache_upkeep.give_up(found, now)]


def read_slowly(home: Path, project: Path, cache: Path) -> None:
    """Run one job that reads its input file by file, between signs from the test."""
    in_use.BEAT_SECONDS = 0.02

    def work(job: Job) -> dict[str, Any]:
        for number in range(3):
            (home / f"at-{number}").touch()
            while not (home / f"go-{number}").exists():
                time.sleep(0.005)
            (job.folder("raw") / f"part/{number}.jsonl").read_bytes()
        return write_own(job, "bob")

    with chdir(home):
        missing, file = plan(project, cache)
        run(missing[0], file, work)


def wait_for(condition) -> None:
    """Wait until something is so; a minute is for ever."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def begin(bob: Person, commons: Path, project: Path, cache: Path):
    """Start the slow reader, wait until it reads, and return it with its folder."""
    home = bob.home(commons)
    reader = bob.start(read_slowly, home, project, cache)
    wait_for((home / "at-0").exists)
    return reader, home


def test_a_job_that_runs_for_days_keeps_what_it_reads(cache, project, team, commons, raw):
    reader, home = begin(team[1], commons, project, cache)
    for number in range(3):
        age(raw[0])
        wait_for(lambda: time.time() - raw[0].stat().st_mtime < DAY_SECONDS)
        if number == 0:
            age(raw[1])  # nobody reads this one
        assert give_up_all(cache) == ([raw[1]] if number == 0 else [])
        (home / f"go-{number}").touch()
    reader.join()
    assert reader.exitcode == 0
    assert raw[0].is_dir()


def test_what_a_killed_job_read_can_go(cache, project, team, commons, raw):
    reader, _ = begin(team[1], commons, project, cache)
    os.kill(reader.pid, signal.SIGKILL)
    reader.join()
    assert give_up_all(cache) == [], "not within the grace"
    age(*raw)
    assert give_up_all(cache) == raw


def test_a_reader_that_can_leave_no_sign_reads_on_in_the_file_it_has_open(cache, raw):
    with (raw[0] / raw[0].name / "part/0.jsonl").open("rb") as file:
        begun = file.read(10)
        size = os.fstat(file.fileno()).st_size
        age(*raw)
        assert give_up_all(cache) == raw
        trash = list(cache_upkeep.items(cache))
        assert {item.kind for item in trash} == {"trash"}
        assert cache_upkeep.passing(trash, time.time()) == []
        assert len(begun + file.read()) == size
        assert os.fstat(file.fileno()).st_nlink > 0, "deleted files fail on a network file system"


def test_what_was_given_up_is_planned_anew_and_deleted_a_day_later(cache, project, commons, raw):
    (commons / "home").mkdir()
    age(*raw)
    assert give_up_all(cache) == raw
    with chdir(commons / "home"):
        missing, _ = plan(project, cache)
    assert [id.partition("/")[0] for id in missing] == ["raw", "chat", "raw", "chat"]
    later = time.time() + DAY_SECONDS + 60
    gone, errors = cache_upkeep.delete(cache_upkeep.passing(list(cache_upkeep.items(cache)), later))
    assert (len(gone), errors) == (2, [])
    assert list(cache_upkeep.items(cache)) == []
    assert list(cache.glob("raw/.index/*")) == []


def test_an_entry_that_someone_begins_to_use_at_that_moment_is_put_back(cache, raw, monkeypatch):
    rename = os.rename

    def used_just_before(source: Path, target: Path) -> None:
        if source == raw[0]:
            os.utime(source)
        rename(source, target)

    age(*raw)
    monkeypatch.setattr(os, "rename", used_just_before)
    assert give_up_all(cache) == raw[1:]
    assert raw[0].is_dir()
    assert not list(cache.glob(f"raw/.trash-{raw[0].name}*"))
    assert (cache / "raw/.index" / raw[0].name.rpartition("-")[2]).exists()


def test_verifying_counts_as_use(cache, raw, tmp_path):
    age(*raw)
    store = Store(tmp_path / "results", (cache,))
    store.verify(store.look(f"raw/{raw[0].name}"))
    assert give_up_all(cache) == raw[1:]


def test_a_workflow_keeps_what_its_waiting_jobs_will_read(
    cache, project, commons, raw, monkeypatch
):
    monkeypatch.setattr(in_use, "BEAT_SECONDS", 0.02)
    (commons / "home").mkdir()
    with chdir(commons / "home"):
        graph = graph_of(project)
        store = Store(Path("results"), (cache,))
        targets = [id for id in graph.artifacts if id.startswith("chat/")]
        made = make_plan(graph, store, targets=targets)
        with in_use.of_plan(made.graph, made.found, Path("results/plans/x.json"), store):
            age(*raw)
            wait_for(lambda: all(time.time() - p.stat().st_mtime < 3600 for p in raw))
            assert give_up_all(cache) == []
    age(*raw)
    assert give_up_all(cache) == raw

"""Two users' workflows at once on one cache, with writers killed: one winner, whole, for all."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import stat
import sys
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from scripts.lib import files
from scripts.lib.artifacts import cache_upkeep, shared_folders
from scripts.lib.artifacts.store import Store
from scripts.lib.errors import StoreError
from tests.cache.people import RESULTS, TEAM, Person, graph_of, make_cache, workflow

DAY = 24 * 3600.0


# On a machine that is busy with other things, somebody may wait long for the others.
PATIENCE = 300.0

# What Python audits of work on files: https://docs.python.org/3/library/audit_events.html
STEPS = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.utime",
)
MOST_STEPS = 400
"""Rather more than a workflow of `people` has, so that any of them can be its last."""


@pytest.mark.parametrize(
    "rounds", [4, pytest.param(20, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_everybody_ends_on_the_bytes_of_one_winner(rounds, team, commons, project, several, capsys):
    ann, bob, _ = team
    total: Counter[str] = Counter()
    for _ in range(rounds):
        folder = commons / "round"
        folder.mkdir()
        total += play(folder, project, (ann, ann, bob, bob))
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\n{rounds} rounds, 4 workflows of {'two users' if several else 'one user'} each:")
        for name in ("killed", "tried again", "taken over", "leftovers", "entries looked at"):
            print(f"  {name:20}{total[name]:8}")
        for name in ("half entries", "other bytes", "lost"):
            print(f"  {name:20}{total[name]:8}")
    assert total["killed"] == 2 * rounds
    # The two who live make four artifacts, each of which has one winner.
    assert total["taken over"] >= 4 * rounds
    assert not (total["half entries"] or total["other bytes"] or total["lost"])


def play(folder: Path, project: Path, writers: tuple[Person, ...]) -> Counter[str]:
    """Let *writers* fill a new cache at once, kill two, and count what came of it.

    All have planned before the first of them makes anything, so all mean to make everything; two
    die at a step of their own. Only who is faster is left to chance.
    """
    folder.chmod(0o755)
    cache = make_cache(folder)
    seen: Counter[str] = Counter()
    homes = [person.home(folder) for person in writers]
    watcher = Person("watcher", None, 0o022).start(watch, cache, folder / "watched")
    start = multiprocessing.get_context("fork").Barrier(len(writers), timeout=PATIENCE)
    last_steps = dict.fromkeys(range(len(writers)))
    for victim in random.sample(range(len(writers)), 2):
        last_steps[victim] = random.randint(1, MOST_STEPS)

    def first_try(home: Path, last_step: int | None) -> None:
        def planned() -> None:
            start.wait()
            if last_step:
                die_at(last_step)

        workflow(home, project, cache, home.name, planned)
        if last_step:  # it had fewer steps
            os.kill(os.getpid(), signal.SIGKILL)

    running = [
        (person, home, person.start(first_try, home, last_steps[number]))
        for number, (person, home) in enumerate(zip(writers, homes, strict=True))
    ]
    for person, home, process in running:
        seen += finish(person, home, process, project, cache)
    (folder / "stop").touch()
    watcher.join()
    seen += Counter(files.read_json(folder / "watched"))
    for home in homes:
        seen += compare(home, project, cache)
    check_rights(cache)
    seen["leftovers"] += sweep(cache)
    return seen


def die_at(step: int) -> None:
    """Let this process be killed at its *step*-th work on a file from now on."""
    numbers = itertools.count(1)

    def count(event: str, _: object) -> None:
        if event in STEPS and next(numbers) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def finish(
    person: Person, home: Path, process: BaseProcess, project: Path, cache: Path
) -> Counter[str]:
    """Wait for a workflow, and start it again while it was killed or says `run again`."""
    seen: Counter[str] = Counter()
    process.join()
    seen["killed"] += process.exitcode == -signal.SIGKILL
    while process.exitcode:
        seen["tried again"] += 1
        assert seen["tried again"] < 10
        process = person.start(workflow, home, project, cache, home.name)
        process.join()
    return seen


def watch(cache: Path, result: Path) -> None:
    """Look at every entry, over and over, and count those that were not whole."""
    seen: Counter[str] = Counter()
    stop = result.with_name("stop")
    while True:
        last = stop.exists()
        for entry in sorted(cache.glob("[!.]*/[!.]*")):
            inode = entry.stat().st_ino
            whole = is_whole(entry)
            seen["entries looked at"] += 1
            if not whole and entry.stat().st_ino == inode:
                seen["half entries"] += 1
        if last:
            files.write_json(result, seen)
            return


def is_whole(entry: Path) -> bool:
    """Tell whether an entry has its manifest and every byte that it lists."""
    try:
        manifest = files.read_json(entry / f"{entry.name}.json")
        listed = files.list_files(entry / entry.name)
    except (OSError, ValueError):
        return False
    return [entry._asdict() for entry in listed] == manifest["files"]


def compare(home: Path, project: Path, cache: Path) -> Counter[str]:
    """Compare what a workflow holds with what a newcomer gets from the cache."""
    seen: Counter[str] = Counter()
    mine = Store(home / RESULTS)
    theirs = Store(home / "newcomer", (cache,))
    contents = {}
    for id in graph_of(project).artifacts:
        winner = theirs.look(id)
        if winner is None or winner.folder is None:
            seen["lost"] += 1
            continue
        theirs.verify(winner)
        contents[id] = winner.content
        for source in (item for edge in winner.manifest["inputs"].values() for item in edge):
            seen["other bytes"] += contents[source["id"]] != source["content"]
        found = mine.look(id)
        if found and found.folder:
            mine.verify(found)
            assert files.content_of(files.list_files(found.folder)) == found.content
            seen["other bytes"] += found.content != winner.content
            seen["taken over"] += home.name != found.manifest["facts"]["writer"]
    return seen


def check_rights(cache: Path) -> None:
    """See that the group can read and tidy all, and nobody else can write anything."""
    left = [item.path for item in cache_upkeep.items(cache) if item.kind == "leftover"]
    for path in cache.rglob("*"):
        found = path.lstat()
        assert not found.st_mode & stat.S_IWOTH, path
        if not any(path.is_relative_to(part) for part in left):
            group = stat.S_IRWXG if path.is_dir() else stat.S_IRGRP
            assert found.st_mode & group == group, path
            assert found.st_gid == (TEAM if os.geteuid() == 0 else os.getegid()), path


def sweep(cache: Path) -> int:
    """Let a day pass for what killed writers left, and tidy; return how much it was."""
    found = list(cache_upkeep.items(cache))
    left = [item for item in found if item.kind == "leftover"]
    assert cache_upkeep.passing(found, time.time()) == [], "younger than a day: maybe a writer's"
    gone, errors = cache_upkeep.delete(cache_upkeep.passing(found, time.time() + 2 * DAY))
    assert (gone, errors) == (left, [])
    assert {item.kind for item in cache_upkeep.items(cache)} == {"entry"}
    return len(left)


@pytest.mark.parametrize("held", ["after the plan", "before the rename"])
def test_the_loser_of_a_race_takes_the_winners_bytes(held, cache, project, team, commons, capfd):
    """Bob waits at a known point until Ann has published everything, and has it all to make."""
    ann, bob, _ = team
    fork = multiprocessing.get_context("fork")
    there, go_on = fork.Event(), fork.Event()

    def wait() -> None:
        if not there.is_set():
            there.set()
            assert go_on.wait(PATIENCE)

    def late(home: Path) -> None:
        move_in = shared_folders.move_in

        def move_later(part: Path, entry: Path) -> bool:
            wait()
            return move_in(part, entry)

        if held == "after the plan":
            workflow(home, project, cache, "bob", wait)
        else:
            shared_folders.move_in = move_later
            workflow(home, project, cache, "bob")

    home = bob.home(commons)
    loser = bob.start(late, home)
    assert there.wait(PATIENCE)
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    go_on.set()
    loser.join()
    assert loser.exitcode == 0
    seen = compare(home, project, cache)
    assert (seen["taken over"], seen["other bytes"], seen["lost"]) == (4, 0, 0)
    said = capfd.readouterr().out
    # What he had made before he lost is given up; what he had not begun is not made at all.
    made = int(held == "before the rename")
    assert said.count("another workflow published this artifact first") == made
    assert said.count("the same bytes were made before") == 4 - made


def test_a_killed_writers_leftover_is_never_read(cache, project, team, commons):
    """Even one that was complete but for its rename."""
    ann, bob, _ = team
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    for entry in sorted(cache.glob("[!.]*/[!.]*")):
        entry.rename(entry.with_name(f".part-{entry.name}-0123abcd"))
    assert bob.do(workflow, bob.home(commons), project, cache, "bob") == 0
    for id in graph_of(project).artifacts:
        found = Store(commons / "newcomer", (cache,)).look(id)
        assert found.manifest["facts"]["writer"] == "bob"


def test_what_a_writer_published_before_it_was_killed_is_found_by_its_key(
    cache, project, team, commons
):
    """Killed between the entry's rename and the rest, and looked for under another slug."""
    ann, _, _ = team

    def work(home: Path) -> None:
        rename = os.rename

        def last_act(source: Path, target: Path) -> None:
            rename(source, target)
            if target.parent == cache / "raw" and target.name[0] != ".":
                os.kill(os.getpid(), signal.SIGKILL)

        os.rename = last_act
        workflow(home, project, cache, "ann")

    assert ann.do(work, ann.home(commons)) == -signal.SIGKILL
    (entry,) = cache.glob("raw/[!.]*")
    key = entry.name.rpartition("-")[2]
    assert Store(commons / "new", (cache,)).look(f"raw/other-words-{key}", key).folder


def test_the_winner_that_is_damaged_does_not_cost_the_loser_its_work(
    cache, project, team, commons, capfd
):
    """It is found out when the loser wants its bytes: put aside, and the loser's take its place."""
    ann, bob, _ = team
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    for file in cache.glob("[!.]*/[!.]*/*/part/0.jsonl"):
        text = file.read_text()
        file.unlink()
        file.write_text("X" + text[1:])

    def late(home: Path) -> None:
        """Make everything without asking the cache first, as one who began at the same time."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "look", lambda *_: None)
            workflow(home, project, cache, "bob")

    home = bob.home(commons)
    assert bob.do(late, home) == 0
    store = Store(home / RESULTS, (cache,))
    for id in graph_of(project).artifacts:
        mine, shared = store.look(id), Store(commons / "new", (cache,)).look(id)
        store.verify(shared)
        assert shared.manifest["facts"]["writer"] == "bob"
        assert mine.content == shared.content
    said = capfd.readouterr().out
    assert "is not what its manifest says" in said
    assert "what was made here is kept" in said


def test_a_good_entry_that_took_a_bad_ones_place_is_not_put_aside(cache, project, team, commons):
    """Two readers find the same damage; the slower one must not throw out what was made since."""
    ann, _, _ = team
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    slow = Store(commons / "slow", (cache,))
    id = next(iter(graph_of(project).artifacts))
    found = slow.look(id)
    entry = slow.entry_of(found.manifest_path)
    for number, bad in enumerate(cache.glob("[!.]*/[!.]*")):
        bad.rename(commons / f"bad-{number}")
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    with pytest.raises(StoreError, match="was made anew while it was read: run again"):
        slow.verify(found)
    assert is_whole(entry)

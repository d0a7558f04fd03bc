"""A group shares a cache, and nobody else: whatever the umask of whoever publishes."""

import os
import stat
import time
from pathlib import Path

import pytest

from scripts.lib import files
from scripts.lib.artifacts import cache_upkeep
from scripts.lib.artifacts.store import Store
from scripts.lib.errors import StoreError
from tests.cache.people import RESULTS, TEAM, graph_of, make_cache, workflow


def modes(cache: Path) -> tuple[set[int], set[int]]:
    """Return the modes of all folders and of all files below *cache*."""
    paths = list(cache.rglob("*"))
    folders = {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()}
    return folders, {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()}


@pytest.mark.parametrize(
    ("root", "folders", "files"),
    [
        (0o2770, 0o2770, 0o440),
        (0o770, 0o2770, 0o440),
        (0o2775, 0o2775, 0o444),
        (0o777, 0o2775, 0o444),
        (0o755, 0o755, 0o444),
        (0o700, 0o700, 0o400),
    ],
    ids=oct,
)
def test_the_roots_mode_decides_and_others_never_write(
    commons, project, team, root, folders, files
):
    """Published under the umask 077, which would close everything to everybody."""
    ann = team[0]
    cache = make_cache(commons, root)
    if ann.uid is not None:
        os.chown(cache, ann.uid, TEAM)  # so that she may write whatever the mode
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    assert modes(cache) == ({folders}, {files})


def test_an_open_umask_opens_nothing_to_the_world(cache, project, team, commons):
    bob = team[1]
    home = bob.home(commons)
    assert bob.do(_with_open_umask, home, project, cache) == 0
    folders, kept = modes(cache)
    assert folders == {0o2770}
    assert not any(mode & 0o222 for mode in kept)


def _with_open_umask(home: Path, project: Path, cache: Path) -> None:
    os.umask(0)
    workflow(home, project, cache, "bob")


def test_a_linked_file_is_one_with_the_result_and_belongs_to_the_group(
    cache, project, users, commons
):
    ann = users[0]
    home = ann.home(commons)
    assert ann.do(workflow, home, project, cache, "ann") == 0
    for path in (home / RESULTS / "raw").glob("*/part/*"):
        found = path.stat()
        assert (found.st_nlink, found.st_gid, stat.S_IMODE(found.st_mode)) == (2, TEAM, 0o440)


def test_what_a_colleague_made_is_read_and_costs_no_job(cache, project, users, commons):
    ann, bob, _ = users
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    home = bob.home(commons)
    assert bob.do(workflow, home, project, cache, "bob") == 0
    assert not (home / RESULTS / "chat").exists()
    assert bob.do(_take_all, home, project, cache) == 0
    taken = sorted(path.name for path in (home / "taken").iterdir())
    assert taken == sorted(id.replace("/", "-") for id in graph_of(project).artifacts)


def _take_all(home: Path, project: Path, cache: Path) -> None:
    """Verify and take every artifact of the cache."""
    store = Store(home / RESULTS, (cache,))
    for id in graph_of(project).artifacts:
        found = store.look(id)
        store.verify(found)
        store.take(found, home / "taken" / id.replace("/", "-"))


def test_a_colleague_can_put_aside_and_tidy_what_one_made(cache, project, users, commons):
    ann, bob, _ = users
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    damaged = next(cache.glob("raw/[!.]*/*/part/0.jsonl"))
    text = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(b"X" + text[1:])
    damaged.chmod(0o444)
    assert bob.do(_take_all, bob.home(commons), project, cache) != 0
    assert len(list(cache.glob("raw/.quarantine/*"))) == 1
    later = time.time() + 2 * 24 * 3600
    assert bob.do(_tidy_all, cache, later) == 0
    assert bob.do(_tidy_all, cache, later + 24 * 3600) == 0
    assert list(cache_upkeep.items(cache)) == []
    assert list(cache.glob("*/.index/*")) == []


def _tidy_all(cache: Path, now: float) -> None:
    """Give up what is unused at the time *now*, and delete what was given up before."""
    found = list(cache_upkeep.items(cache))
    chosen = cache_upkeep.choose(found, now, older_than=0)
    assert cache_upkeep.give_up(chosen, now) == chosen
    _, errors = cache_upkeep.delete(cache_upkeep.passing(found, now))
    assert errors == []


def test_an_outsider_reads_nothing_and_works_on_their_own(cache, project, users, commons, capfd):
    ann, _, eve = users
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    before = sorted(cache.rglob("*"))
    home = eve.home(commons)
    assert eve.do(workflow, home, project, cache, "eve") == 0
    assert sorted(cache.rglob("*")) == before
    for manifest in (home / RESULTS).glob("chat/*.json"):
        assert files.read_json(manifest)["facts"] == {"writer": "eve"}
    assert "cannot be written by you" in capfd.readouterr().err


def test_a_file_that_the_group_could_not_read_is_copied(commons, users, project):
    """Bob's results hold a link to a file that only its owner, ann, could open to the group."""
    ann, bob, _ = users
    mine, team = commons / "mine", make_cache(commons)
    mine.mkdir()
    os.chown(mine, bob.uid, bob.uid)
    mine.chmod(0o700)
    home = bob.home(commons)
    assert bob.do(workflow, home, project, mine, "bob") == 0
    for path in (home / RESULTS).rglob("*.jsonl"):
        os.chown(path, ann.uid, bob.uid)
        path.chmod(0o660)
    for path in (home / RESULTS / "raw").glob("*.json"):
        path.unlink()
    assert bob.do(_publish_all, home, project, team) == 0
    shared = list(team.glob("chat/[!.]*/*/part/*"))
    assert len(shared) == 6
    for path in shared:
        assert path.stat().st_gid == TEAM
        assert stat.S_IMODE(path.stat().st_mode) == 0o440


def _publish_all(home: Path, project: Path, cache: Path) -> None:
    """Offer what lies in results/ to a cache."""
    store = Store(home / RESULTS, (cache,))
    for id in graph_of(project).artifacts:
        found = store.look(id)
        if found and found.folder:
            store.publish(found.folder, found.manifest, what="files")


def test_a_file_that_one_may_not_read_is_said_with_what_to_do(cache, project, users, commons):
    """`run again` would meet the same file again."""
    ann, bob, _ = users
    assert ann.do(workflow, ann.home(commons), project, cache, "ann") == 0
    for path in cache.glob("raw/[!.]*/*/part/0.jsonl"):
        path.chmod(0o400)
    assert bob.do(_expect_advice, bob.home(commons), project, cache) == 0


def _expect_advice(home: Path, project: Path, cache: Path) -> None:
    """See what is said of an artifact with a file that is closed to this user."""
    store = Store(home / RESULTS, (cache,))
    found = store.look(next(iter(graph_of(project).artifacts)))
    with pytest.raises(StoreError, match=r"cannot be read by you.*take its cache out"):
        store.verify(found)

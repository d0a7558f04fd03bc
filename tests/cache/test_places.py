"""A cache on another file system, read-only, full or in the way: lived with, and said."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.lib import files
from scripts.lib.artifacts.store import Store
from scripts.lib.jobs import remarks
from scripts.lib.plan.missing import make_plan
from tests.cache.people import RESULTS, graph_of, workflow
from tests.cache.test_race import is_whole

Mount = Callable[[str], Path]


@pytest.fixture
def mount(commons) -> Iterator[Mount]:
    """A function that mounts a new memory file system with the given options."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = commons / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("only root can mount a file system")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def home(commons) -> Path:
    folder = commons / "home"
    folder.mkdir()
    return folder


def store_of(home: Path, cache: Path) -> Store:
    """Return the store of a working folder."""
    return Store(home / RESULTS, (cache,))


def after(home: Path, project: Path, cache: Path) -> list[str]:
    """Return what the workflow says at its end, of everything that it made."""
    graph = graph_of(project)
    targets = [id for id in graph.artifacts if id.startswith("chat/")]
    return remarks.after(
        make_plan(graph, Store(home / "none"), targets=targets), store_of(home, cache)
    )


def check_results(home: Path, project: Path) -> None:
    """See that the workflow's own results are all there and whole."""
    store = Store(home / RESULTS)
    for id in graph_of(project).artifacts:
        found = store.look(id)
        assert found.folder
        assert files.content_of(files.list_files(found.folder)) == found.content


def test_on_another_file_system_artifacts_are_copied(home, project, mount):
    cache = mount("size=64m") / "cache"
    cache.mkdir()
    workflow(home, project, cache, "ann")
    check_results(home, project)
    entries = list(cache.glob("[!.]*/[!.]*"))
    assert len(entries) == 4
    assert all(is_whole(entry) for entry in entries)
    assert {path.stat().st_nlink for path in cache.glob("*/[!.]*/*/part/*")} == {1}
    (said,) = [line for line in remarks.before(store_of(home, cache)) if "another file" in line]
    assert "copied there, not linked" in said
    assert after(home, project, cache) == []


def test_a_cache_that_is_only_read_is_used_and_left_alone(home, commons, project, mount, capfd):
    disk = mount("size=64m")
    (other := commons / "other").mkdir()
    workflow(other, project, disk, "ann")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    capfd.readouterr()
    workflow(home, project, disk, "bob")
    assert not list(home.glob("results/chat/*.json")), "all of it was found"
    (said,) = remarks.before(store_of(home, disk))
    assert "cannot be written from here: what lies in it is used" in said


def test_a_cache_that_cannot_be_written_keeps_no_result_from_its_maker(home, project, mount, capfd):
    disk = mount("size=64m,ro")
    workflow(home, project, disk, "ann")
    check_results(home, project)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 4
    assert all("was not published" in line and "docs/cache.md" in line for line in said)
    (line,) = after(home, project, disk)
    assert line.startswith("4 of 4 new artifacts are in results/ only")


def test_a_full_cache_keeps_no_result_from_its_maker_and_holds_nothing_half(
    home, project, mount, capfd
):
    disk = mount("size=48k")
    (disk / "ballast").write_bytes(b"x" * 20_000)
    workflow(home, project, disk, "ann")
    check_results(home, project)
    said = capfd.readouterr().err
    assert f"{disk} is full" in said
    assert "make cache-gc" in said
    assert not list(disk.rglob(".part-*"))
    assert all(is_whole(entry) for entry in disk.glob("[!.]*/[!.]*"))
    (low,) = [line for line in remarks.before(store_of(home, disk)) if "MiB left" in line]
    assert "what does not fit stays in results/" in low
    (line,) = after(home, project, disk)
    assert "not in the cache" in line


@pytest.mark.parametrize("what", ["a file", "nothing", "below a file"])
def test_a_cache_that_is_no_folder_is_lived_with(home, commons, project, what):
    cache = commons / "place"
    if what == "a file":
        cache.write_text("")
    elif what == "below a file":
        cache.write_text("")
        cache /= "cache"
    (said,) = remarks.before(store_of(home, cache))
    workflow(home, project, cache, "ann")
    check_results(home, project)
    words = {
        "a file": "is no folder",
        "nothing": "is not there yet",
        "below a file": "cannot be used",
    }
    assert words[what] in said
    assert (after(home, project, cache) == []) == (what == "nothing")


def test_a_cache_open_to_the_world_is_pointed_out(home, commons):
    cache = commons / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    (said,) = remarks.before(store_of(home, cache))
    assert "everybody can write" in said
    assert f"chmod o-w {cache}" in said


def test_an_ordinary_cache_and_none_are_not_worth_a_word(home, cache):
    assert remarks.before(store_of(home, cache)) == []
    assert remarks.before(Store(home / RESULTS)) == []

"""What lies on disk counts only when it is whole, and is shared in one step."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from scripts.lib import files
from scripts.lib.artifacts import shared_folders as sharing
from scripts.lib.artifacts.shared_folders import link_or_copy
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.errors import StoreError

ID = "adapters/tiny-0123456789abcdef0123"
KEY = "0123456789abcdef0123"


def manifest_of(folder: Path, *, id: str = ID, key: str = KEY, content_key: str = "c" * 20) -> dict:
    listed = files.list_files(folder)
    return {
        "id": id,
        "key": key,
        "content_key": content_key,
        "files": [entry._asdict() for entry in listed],
        "content": files.content_of(listed),
    }


def make(results: Path, text: str = "weights", *, id: str = ID, **keys: str) -> dict:
    """Put a finished artifact into *results* and return its manifest."""
    folder = results / id
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text(text)
    (folder / "sub/b.txt").write_text("b")
    manifest = manifest_of(folder, id=id, **keys)
    files.write_json(results / f"{id}.json", manifest)
    Store(results).index(manifest)
    return manifest


@pytest.fixture
def store(tmp_path) -> Store:
    (tmp_path / "cache").mkdir()
    return Store(tmp_path / "results", (tmp_path / "cache",))


def test_what_was_never_made_is_missing(store):
    assert store.look(ID, KEY) is None


def test_an_artifact_with_all_its_files_is_present(store):
    manifest = make(store.results)
    found = store.look(ID, KEY)
    assert found.folder == store.results / ID
    assert found.content == manifest["content"]


@pytest.mark.parametrize("damage", ["a file less", "another size", "no folder", "a folder instead"])
def test_an_artifact_that_is_not_whole_is_evicted(store, damage):
    make(store.results)
    file = store.results / ID / "a.txt"
    if damage == "no folder":
        shutil.rmtree(file.parent)
    else:
        file.unlink()
    if damage == "another size":
        file.write_text("cut")
    elif damage == "a folder instead":
        file.mkdir()
    found = store.look(ID, KEY)
    assert found is not None
    assert found.folder is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"files": 3}', '{"files": [{}]}'])
def test_a_manifest_that_cannot_be_read_is_none(store, text):
    make(store.results)
    (store.results / f"{ID}.json").write_text(text)
    assert store.look(ID, KEY) is None


def test_files_without_a_manifest_are_nothing(store):
    """A killed job's folder: the manifest is written last."""
    make(store.results)
    (store.results / f"{ID}.json").unlink()
    assert store.look(ID, KEY) is None


def test_other_files_in_the_folder_do_not_count(store):
    make(store.results)
    (store.results / ID / ".snakemake_timestamp").touch()
    assert store.look(ID, KEY).folder


def test_an_artifact_is_found_by_its_key_under_other_words(store):
    make(store.results)
    found = store.look(f"adapters/renamed-{KEY}", KEY)
    assert found.folder == store.results / ID


def test_an_artifact_is_found_by_its_content_key(store):
    make(store.results)
    assert store.look("adapters/other-ffff", "ffff", "c" * 20).folder == store.results / ID
    assert store.look("adapters/other-ffff", "ffff") is None


def test_another_stage_with_the_same_key_is_not_found(store):
    make(store.results)
    assert store.look(f"merged/tiny-{KEY}", KEY) is None


def test_an_index_entry_counts_only_while_the_artifact_has_that_key(store):
    """Work done again on other bytes has another content key; the old entry still leads to it."""
    make(store.results)
    make(store.results, "other weights", content_key="d" * 20)
    assert store.look("adapters/x-ffff", "c" * 20) is None
    assert store.look("adapters/x-ffff", "d" * 20).folder


def test_an_index_entry_that_leads_nowhere_is_ignored(store):
    make(store.results)
    files.write_text(store.results / "adapters/.index/eeee", "gone-eeee\n")
    assert store.look("adapters/gone-eeee", "eeee") is None


def test_a_present_one_is_preferred_to_an_evicted_one(store):
    manifest = make(store.results)
    store.publish(store.results / ID, manifest, what="files")
    shutil.rmtree(store.results / ID)
    assert store.look(ID, KEY).folder == store.caches[0] / ID / ID.partition("/")[2]


def test_verified_bytes_are_read_once_and_read_again_when_touched(store, monkeypatch):
    make(store.results)
    found = store.look(ID, KEY)
    read = []
    real = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda path: read.append(path.name) or real(path))
    store.verify(found)
    store.verify(found)
    assert read == ["a.txt", "b.txt"]
    os.utime(store.results / ID / "a.txt")
    store.verify(found)
    assert len(read) == 4


def test_bad_bytes_are_put_aside_and_then_made_anew(store):
    make(store.results)
    found = store.look(ID, KEY)
    store.verify(found)
    (store.results / ID / "a.txt").write_text("WEIGHTS")
    with pytest.raises(StoreError, match=r"a\.txt is not what its manifest says.*Run again"):
        store.verify(found)
    assert store.look(ID, KEY).folder is None
    (aside,) = (store.results / "adapters/.quarantine").iterdir()
    assert (aside / "a.txt").read_text() == "WEIGHTS"


def test_a_bad_entry_of_a_cache_is_put_aside_there(store):
    manifest = make(store.results)
    store.publish(store.results / ID, manifest, what="files")
    shutil.rmtree(store.results)
    found = store.look(ID, KEY)
    bad = found.folder / "a.txt"
    bad.unlink()
    bad.write_text("WEIGHTS")
    with pytest.raises(StoreError, match="Run again"):
        store.verify(found)
    assert store.look(ID, KEY) is None


def test_a_bad_entry_that_cannot_be_moved_is_said_with_what_to_do(store):
    manifest = make(store.results)
    store.publish(store.results / ID, manifest, what="files")
    shutil.rmtree(store.results)
    found = store.look(ID, KEY)
    (found.folder / "a.txt").unlink()
    (found.folder / "a.txt").write_text("WEIGHTS")
    (store.caches[0] / "adapters/.quarantine").write_text("in the way")
    with pytest.raises(StoreError, match="take its cache out of TUNESMITH_CACHE"):
        store.verify(found)


def test_a_file_that_vanished_is_said(store):
    make(store.results)
    found = store.look(ID, KEY)
    (store.results / ID / "a.txt").unlink()
    with pytest.raises(StoreError, match="lost files"):
        store.verify(found)


def test_an_evicted_artifact_can_be_neither_verified_nor_taken(store, tmp_path):
    make(store.results)
    shutil.rmtree(store.results / ID)
    found = store.look(ID, KEY)
    with pytest.raises(StoreError, match="no files here"):
        store.verify(found)
    with pytest.raises(StoreError, match="no files here"):
        store.take(found, tmp_path / "new")


def test_taken_files_are_the_listed_ones_and_cannot_be_written(store, tmp_path):
    make(store.results)
    (store.results / ID / "more.txt").write_text("not listed")
    store.take(store.look(ID, KEY), tmp_path / "new")
    taken = sorted(
        place.relative_to(tmp_path / "new").as_posix()
        for place in files.walk_files(tmp_path / "new")
    )
    assert taken == ["a.txt", "sub/b.txt"]
    assert not (tmp_path / "new/a.txt").stat().st_mode & 0o222


def test_a_link_that_cannot_be_made_becomes_a_copy(tmp_path):
    source = Path("/dev/shm") / f"tunesmith-test-{os.getpid()}"
    source.write_text("bytes")
    try:
        link_or_copy(source, tmp_path / "sub/copy")
    finally:
        source.unlink()
    assert (tmp_path / "sub/copy").read_text() == "bytes"


def test_publishing_only_the_manifest_leaves_an_evicted_entry(store):
    manifest = make(store.results)
    store.publish(store.results / ID, manifest, what="manifest")
    shutil.rmtree(store.results)
    assert store.look(ID, KEY).folder is None


@pytest.mark.parametrize("what", ["no", "files"])
def test_nothing_is_published_without_wish_or_cache(tmp_path, what):
    caches = (tmp_path / "cache",) if what == "no" else ()
    store = Store(tmp_path / "results", caches)
    assert store.publish(store.results / ID, make(store.results), what=what) is None
    assert not (tmp_path / "cache").exists()


def test_the_first_of_two_equal_keys_wins(store, tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    one, two = make(first, "one"), make(second, "two")
    assert store.publish(first / ID, one, what="files") is None
    winner = store.publish(second / ID, two, what="files")
    assert winner.content == one["content"]
    assert (winner.folder / "a.txt").read_text() == "one"


def test_work_done_again_on_request_replaces_the_entry(store, tmp_path):
    one, two = make(tmp_path / "one", "one"), make(tmp_path / "two", "two")
    store.publish(tmp_path / "one" / ID, one, what="files")
    assert store.publish(tmp_path / "two" / ID, two, what="files", replace=True) is None
    assert store.look(ID, KEY).content == two["content"]


def test_a_damaged_entry_is_replaced(store, tmp_path):
    one, two = make(tmp_path / "one", "one"), make(tmp_path / "two", "two")
    store.publish(tmp_path / "one" / ID, one, what="files")
    (store.look(ID, KEY).folder / "a.txt").unlink()
    assert store.publish(tmp_path / "two" / ID, two, what="files") is None
    assert store.look(ID, KEY).content == two["content"]


def test_a_cache_that_cannot_be_written_is_said_and_lived_with(tmp_path, capsys):
    (tmp_path / "cache").write_text("a file, no folder")
    store = Store(tmp_path / "results", (tmp_path / "cache",))
    assert store.publish(store.results / ID, make(store.results), what="files") is None
    assert "was not published" in capsys.readouterr().err


def test_the_second_cache_is_read_and_never_written(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    one = make(tmp_path / "one", "one")
    Store(tmp_path / "one", (theirs,)).publish(tmp_path / "one" / ID, one, what="files")
    before = sorted(theirs.rglob("*"))
    store = Store(tmp_path / "results", (mine, theirs))
    found = store.look(ID, KEY)
    assert found.folder and found.folder.is_relative_to(theirs)
    store.verify(found)
    other = make(store.results, "more", id="adapters/more-ffff", key="ffff")
    store.publish(store.results / "adapters/more-ffff", other, what="files")
    assert sorted(theirs.rglob("*")) == before
    assert (mine / "adapters/more-ffff").is_dir()


def _publish(
    root: Path, cache: Path, text: str, start: "multiprocessing.synchronize.Barrier"
) -> None:
    """Publish, in another process, at the same moment as others."""
    results = root / text
    manifest = make(results, text)
    start.wait()
    winner = Store(results, (cache,)).publish(results / ID, manifest, what="files")
    content = winner.content if winner else manifest["content"]
    (root / f"{text}.done").write_text(content)


def test_processes_that_publish_at_once_agree_on_one_content(tmp_path):
    context = multiprocessing.get_context("fork")
    for round in range(5):
        root = tmp_path / str(round)
        root.mkdir()
        start = context.Barrier(3)
        racers = [
            context.Process(target=_publish, args=(root, root / "cache", text, start))
            for text in ("one", "two", "six")
        ]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        agreed = {place.read_text() for place in root.glob("*.done")}
        found = Store(root / "nothing", (root / "cache",)).look(ID, KEY)
        assert agreed == {found.content}
        Store(root / "nothing").verify(found)
        assert not list((root / "cache/adapters").glob(".part-*"))


def _publish_slowly(results: Path, cache: Path) -> None:
    """Publish file by file, so slowly that a signal hits in the middle."""
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        time.sleep(60)

    os.link = link
    Store(results, (cache,)).publish(results / ID, make(results), what="files")


def test_a_publisher_that_is_killed_leaves_no_half_entry(tmp_path):
    cache = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    publisher = context.Process(target=_publish_slowly, args=(tmp_path / "one", cache))
    publisher.start()
    while not list(cache.glob("adapters/.part-*/*/a.txt")):
        time.sleep(0.01)
    os.kill(publisher.pid, signal.SIGKILL)
    publisher.join()
    store = Store(tmp_path / "two", (cache,))
    assert store.look(ID, KEY) is None
    assert store.publish(tmp_path / "two" / ID, make(tmp_path / "two"), what="files") is None
    shutil.rmtree(tmp_path / "two")
    store.verify(store.look(ID, KEY))


def test_a_manifest_is_plain_json(store):
    make(store.results)
    assert json.loads((store.results / f"{ID}.json").read_text())["id"] == ID
    assert isinstance(store.look(ID, KEY), Found)


def _make_folder(folder: Path, root: Path, start: "multiprocessing.synchronize.Barrier") -> None:
    """Make a folder and at once something in it, in another process, as others do."""
    start.wait()
    for round in range(200):
        sharing.make_folder(folder / str(round), root)
        (folder / str(round) / str(os.getpid())).mkdir()


def test_a_folder_that_two_make_at_once_is_never_replaced(tmp_path):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    racers = [
        context.Process(target=_make_folder, args=(tmp_path / "made", tmp_path, start))
        for _ in range(4)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0, 0, 0, 0]

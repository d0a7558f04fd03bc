"""A shared cache by age and size: what is listed, what is chosen, what is removed on request."""

import os
import time
from pathlib import Path

import pytest

from scripts.lib.artifacts import cache_upkeep
from scripts.lib.artifacts.cache_upkeep import Item, choose
from scripts.tools import cache_gc, upkeep

DAY = 24 * 3600.0
NOW = 1_000 * DAY


def entry(name: str, days: float, size: int) -> Item:
    return Item(Path("cache/adapters") / name, "entry", size, size, NOW - days * DAY)


FOUND = [
    entry("new", 0.5, 500),
    entry("small", 10, 10),
    entry("large", 20, 1_000),
    entry("old", 90, 100),
    Item(Path("cache/adapters/.part-x"), "leftover", 9_999, 9_999, NOW - 90 * DAY),
]


def names(**wishes: float) -> list[str]:
    return [item.path.name for item in choose(FOUND, NOW, **wishes)]


def test_without_a_wish_nothing_is_chosen():
    assert names() == []


def test_the_longest_unused_come_first():
    assert names(older_than=0) == ["old", "large", "small"]


def test_age_and_size_both_have_to_hold():
    assert names(older_than=15 * DAY) == ["old", "large"]
    assert names(larger_than=50) == ["old", "large"]
    assert names(older_than=15 * DAY, larger_than=500) == ["large"]


def test_what_is_to_be_kept_is_counted_with_what_may_not_go():
    """1,610 bytes lie there; leftovers are no entries."""
    assert names(keep=1_610) == []
    assert names(keep=1_609) == ["old"]
    assert names(keep=1_000) == ["old", "large"]
    assert names(keep=0) == ["old", "large", "small"]
    assert names(keep=0, larger_than=200) == ["large"]


@pytest.mark.parametrize("wish", [{"older_than": 0.0}, {"larger_than": 0}, {"keep": 0}])
def test_what_was_used_within_the_grace_is_never_chosen(wish):
    assert "new" not in names(**wish)
    assert "small" not in names(**wish, grace=11 * DAY)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 30 * DAY), ("12h", DAY / 2), ("2w", 14 * DAY), ("1.5d", 1.5 * DAY)],
)
def test_ages_are_read(text, seconds):
    assert cache_gc.age(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("1G", 2**30), ("1.5M", 3 * 2**19), ("200", 200), ("2TiB", 2**41)]
)
def test_sizes_are_read(text, count):
    assert cache_gc.size(text) == count


@pytest.mark.parametrize("option", ["--older-than=30", "--older-than=x", "--keep=5q", "--keep=-1G"])
def test_an_age_or_size_without_sense_is_refused_with_examples(tmp_path, option, capsys):
    with pytest.raises(SystemExit):
        upkeep.main(["cache-gc", "--cache", str(tmp_path), option])
    assert "such as" in capsys.readouterr().err


@pytest.fixture
def cache(tmp_path) -> Path:
    """Two entries, one of them linked from results/, with index, trash, quarantine, leftovers."""
    folder = tmp_path / "cache"
    for name, size in (("alone-11", 3_000), ("linked-22", 5_000)):
        place = folder / "adapters" / name / name
        place.mkdir(parents=True)
        (place / "weights").write_bytes(b"w" * size)
        place.with_name(f"{name}.json").write_text("{}")
        (folder / "adapters/.index").mkdir(exist_ok=True)
        (folder / "adapters/.index" / name[-2:]).write_text(f"{name}\n")
    os.link(folder / "adapters/linked-22/linked-22/weights", tmp_path / "result")
    for name in (".trash-x-01", ".quarantine/y-02", ".part-z-03"):
        (folder / "adapters" / name).mkdir(parents=True)
        (folder / "adapters" / name / "weights").write_bytes(b"w" * 100)
    (folder / "adapters/.index/99").write_text("gone-99\n")
    age(folder, 10)
    return folder


def age(folder: Path, days: float) -> None:
    """Let days pass."""
    then = time.time() - days * DAY
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


def tidy(cache: Path, capsys, *options: str) -> str:
    upkeep.main(["cache-gc", "--cache", str(cache), *options])
    return capsys.readouterr().out


def test_listing_shows_everything_and_changes_nothing(cache, capsys):
    before = sorted(cache.rglob("*"))
    said = tidy(cache, capsys, "--older-than", "5d")
    assert sorted(cache.rglob("*")) == before
    for name in ("alone-11", "linked-22", ".trash-x-01", "y-02", ".part-z-03", ".index/99"):
        assert name in said
    assert "10 d" in said
    assert "2 in all" in said
    assert "to remove with --remove" in said


def test_a_folder_that_is_no_entry_is_never_touched(tmp_path, capsys):
    """CACHE=/project where /project/tunesmith was meant: its neighbours are somebody's work."""
    for name in ("thesis/chapters", "models/llama", ".part-whole", "models/.cache/x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("years")
    age(tmp_path, 400)
    before = sorted(tmp_path.rglob("*"))
    tidy(tmp_path, capsys, "--older-than", "30d", "--remove")
    tidy(tmp_path, capsys, "--keep", "0", "--remove")
    assert sorted(tmp_path.rglob("*")) == before


def test_bytes_that_a_result_still_holds_are_not_freed(cache):
    found = {item.path.name: item for item in cache_upkeep.items(cache)}
    assert (found["alone-11"].bytes, found["alone-11"].freed_bytes) == (3_002, 3_002)
    assert (found["linked-22"].bytes, found["linked-22"].freed_bytes) == (5_002, 2)


def test_what_is_removed_goes_with_its_index_entries_and_in_two_steps(cache, capsys):
    tidy(cache, capsys, "--larger-than", "4K", "--remove")
    assert sorted(path.name for path in (cache / "adapters/.index").iterdir()) == ["11"]
    left = list(cache_upkeep.items(cache))
    assert sorted(item.kind for item in left) == ["entry", "trash"]
    assert "deleted: 0" in tidy(cache, capsys, "--remove")
    age(cache, 2)
    assert "deleted: 1" in tidy(cache, capsys, "--remove")
    assert [item.path.name for item in cache_upkeep.items(cache)] == ["alone-11"]


def test_no_grace_is_shorter_than_a_reader_needs(cache, capsys):
    age(cache, 0.5 / 24)
    tidy(cache, capsys, "--keep", "0", "--grace", "0h", "--remove")
    assert len([item for item in cache_upkeep.items(cache) if item.kind == "entry"]) == 2


def test_the_first_cache_of_the_environment_is_meant(cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", f"{cache}{os.pathsep}{tmp_path / 'other'}")
    upkeep.main(["cache-gc"])
    assert "alone-11" in capsys.readouterr().out


@pytest.mark.parametrize("given", [[], ["--cache", "/nowhere"]])
def test_without_a_cache_it_is_said_what_is_missing(given, monkeypatch):
    monkeypatch.delenv("TUNESMITH_CACHE", raising=False)
    with pytest.raises(SystemExit, match=r"name a cache|no folder that you can read"):
        upkeep.main(["cache-gc", *given])

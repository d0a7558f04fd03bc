"""Hashes of files, and writing in one step."""

import hashlib
import os
import threading

import pytest

from scripts.lib.files import (
    FileEntry,
    content_of,
    list_files,
    read_json,
    sha256_of,
    sibling,
    stat_of,
    write_json,
    write_text,
)


def test_a_files_hash_is_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_files_are_listed_with_their_paths_sizes_and_hashes(tmp_path):
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "b/c/d").write_bytes(b"12")
    (tmp_path / "a").write_bytes(b"1")
    assert list_files(tmp_path) == (
        FileEntry("a", 1, hashlib.sha256(b"1").hexdigest()),
        FileEntry("b/c/d", 2, hashlib.sha256(b"12").hexdigest()),
    )


def test_content_counts_names_and_bytes_but_not_the_order_of_a_list():
    one, other = FileEntry("a", 1, "00"), FileEntry("b", 1, "11")
    assert content_of((one, other)) == content_of((other, one))
    assert content_of((one, other)) != content_of((one._replace(path="b"), other))
    assert content_of((one,)) != content_of((one._replace(sha256="11"),))


def test_a_hidden_edit_shows_in_the_stat(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    before = stat_of(file)
    while stat_of(file).ctime_ns == before.ctime_ns:
        file.write_text("two")
        os.utime(file, ns=(before.mtime_ns, before.mtime_ns))
    after = stat_of(file)
    assert (after.bytes, after.mtime_ns, after.inode) == before[:2] + before[3:]
    assert after != before


def test_json_comes_back_as_it_was(tmp_path):
    value = {"b": [1, 2.5, None, True], "a": "é"}
    write_json(tmp_path / "new/folder/x.json", value)
    assert read_json(tmp_path / "new/folder/x.json") == value


def test_equal_values_give_equal_files(tmp_path):
    write_json(tmp_path / "1", {"a": 1, "b": 2})
    write_json(tmp_path / "2", {"b": 2, "a": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_reader_never_sees_half_a_file(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, ["a"] * 5_000)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(len(read_json(file)))

    reader = threading.Thread(target=read)
    reader.start()
    for size in (5_000, 6_000) * 5:
        write_json(file, ["a"] * size)
    stop.set()
    reader.join()
    assert seen <= {5_000, 6_000}


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path):
    write_text(tmp_path / "x", "old")
    with pytest.raises(TypeError):
        write_json(tmp_path / "x", object())
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "x", "\ud800")
    assert [place.name for place in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_lent_name_is_beside_the_file_and_free(tmp_path):
    with sibling(tmp_path / "x") as one, sibling(tmp_path / "x") as other:
        assert one.parent == tmp_path
        assert one != other
        assert not one.exists()

"""When a remembered hash, or what a check found, may be trusted."""

import json
import os
from pathlib import Path

import pytest

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.files import sha256_of, stat_of
from scripts.lib.plan import remembered
from scripts.lib.plan.invocation import checking_modules
from scripts.lib.plan.remembered import CodeMemory, HashMemory


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "rows.jsonl"
    place.write_text("one")
    return place


@pytest.fixture
def counted(monkeypatch):
    """The files that were really read."""
    read = []

    def count(path):
        read.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(remembered, "sha256_of", count)
    return read


def settle(monkeypatch):
    """Let every file count as old."""
    monkeypatch.setattr(remembered, "SETTLED_SECONDS", -1.0)


def test_an_unchanged_file_is_read_once_over_many_runs(file, tmp_path, counted, monkeypatch):
    settle(monkeypatch)
    for _ in range(3):
        memory = HashMemory(tmp_path / "memory.json")
        assert memory.sha256(file) == sha256_of(file)
        memory.save()
    assert counted == ["rows.jsonl"]


def test_a_file_that_just_changed_is_not_trusted(file, tmp_path, counted):
    """A second change within one tick of the clock would not show in its stat."""
    for _ in range(2):
        memory = HashMemory(tmp_path / "memory.json")
        memory.sha256(file)
        memory.save()
    assert counted == ["rows.jsonl"] * 2
    assert not (tmp_path / "memory.json").exists()


def test_a_second_change_within_one_tick_is_seen(file, tmp_path):
    memory = HashMemory(tmp_path / "memory.json")
    first = memory.sha256(file)
    file.write_text("two")
    assert memory.sha256(file) == sha256_of(file) != first


@pytest.mark.parametrize("how", ["hidden edit", "replaced", "touched"])
def test_a_file_whose_stat_changed_is_read_again(file, tmp_path, counted, monkeypatch, how):
    settle(monkeypatch)
    memory = HashMemory(tmp_path / "memory.json")
    memory.sha256(file)
    old = stat_of(file)
    while stat_of(file).ctime_ns == old.ctime_ns:
        if how == "replaced":
            (file.parent / "new").write_text("two")
            os.replace(file.parent / "new", file)
        elif how == "hidden edit":
            file.write_text("two")
        os.utime(file, ns=(old.mtime_ns, old.mtime_ns))
    assert memory.sha256(file) == sha256_of(file)
    assert len(counted) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_a_damaged_memory_is_an_empty_one(file, tmp_path, text, monkeypatch):
    settle(monkeypatch)
    (tmp_path / "memory.json").write_text(text)
    memory = HashMemory(tmp_path / "memory.json")
    assert memory.sha256(file) == sha256_of(file)
    memory.save()
    assert HashMemory(tmp_path / "memory.json").sha256(file) == sha256_of(file)


def test_links_to_one_file_share_its_hash(file, tmp_path, counted, monkeypatch):
    settle(monkeypatch)
    (tmp_path / "link").symlink_to(file)
    memory = HashMemory(tmp_path / "memory.json")
    assert memory.sha256(file) == memory.sha256(tmp_path / "link")
    assert counted == ["rows.jsonl"]


def test_nothing_new_writes_nothing(file, tmp_path, monkeypatch):
    settle(monkeypatch)
    memory = HashMemory(tmp_path / "memory.json")
    memory.sha256(file)
    memory.save()
    before = stat_of(tmp_path / "memory.json")
    again = HashMemory(tmp_path / "memory.json")
    again.sha256(file)
    again.save()
    assert stat_of(tmp_path / "memory.json") == before


@pytest.mark.parametrize("known", [[], None, 3, [1], "ab"])
def test_a_damaged_entry_is_an_unknown_one(file, tmp_path, known, monkeypatch):
    settle(monkeypatch)
    text = json.dumps({str(file.resolve()): known})
    (tmp_path / "memory.json").write_text(text)
    assert HashMemory(tmp_path / "memory.json").sha256(file) == sha256_of(file)


def test_a_change_in_any_code_whose_checks_are_remembered_forgets_them():
    root = Path(__file__).parents[3]
    project = ProjectCode(root)
    counted = {one for entry in checking_modules(root) for one in project.closure(entry)}
    modules = (root / "scripts/lib").rglob("*.py")
    remembering = {one for one in modules if "recall(" in one.read_text(encoding="utf-8")}
    assert {one.name for one in remembering} > {"remembered.py", "local_files.py", "prompts.py"}
    assert remembering <= counted
    # What a check asks for when it is called is reached as well.
    assert root / "scripts/lib/data/formatting.py" in counted


@pytest.fixture
def project(tmp_path):
    """A project of one program, one module and a data file beside it."""
    root = tmp_path / "project"
    (root / "scripts/lib").mkdir(parents=True)
    for folder in ("scripts", "scripts/lib"):
        (root / folder / "__init__.py").write_text('"""A package."""\n')
    (root / "scripts/program.py").write_text("from scripts.lib.module import TEXT\n\nprint(TEXT)\n")
    (root / "scripts/lib/module.py").write_text('TEXT = open("words.txt").read()\n')
    (root / "scripts/lib/words.txt").write_text("hello")
    return root


def digests(root, memory):
    """The digests of the program and of the module, as planning asks for them; and remember."""
    code = CodeMemory(memory, root)
    found = code.digest("program"), code.digest_of(root / "scripts/lib/module.py")
    code.save()
    return found


def test_remembered_digests_of_code_are_those_of_the_code(project, tmp_path, monkeypatch):
    code = ProjectCode(project)
    fresh = code.digest("program"), code.digest_of(project / "scripts/lib/module.py")
    assert digests(project, tmp_path / "code.json") == fresh
    monkeypatch.setattr(ProjectCode, "_module", lambda *_: pytest.fail("parsed again"))
    assert digests(project, tmp_path / "code.json") == fresh


@pytest.mark.parametrize("name", ["program.py", "lib/module.py", "lib/words.txt", "lib/more.py"])
def test_no_digest_outlives_a_change_of_the_code(project, tmp_path, name):
    digests(project, tmp_path / "code.json")
    place = project / "scripts" / name
    place.write_text((place.read_text() if place.exists() else "") + "\nMORE = 1\n")
    code = ProjectCode(project)
    fresh = code.digest("program"), code.digest_of(project / "scripts/lib/module.py")
    assert digests(project, tmp_path / "code.json") == fresh


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"state": 1}', '{"digests": []}'])
def test_a_damaged_memory_of_code_is_an_empty_one(project, tmp_path, text):
    fresh = digests(project, tmp_path / "code.json")
    (tmp_path / "code.json").write_text(text)
    assert digests(project, tmp_path / "code.json") == fresh


def test_code_that_does_not_parse_is_told_each_time(project, tmp_path):
    (project / "scripts/lib/module.py").write_text("TEXT = (\n")
    for _ in range(2):
        with pytest.raises(SyntaxError):
            digests(project, tmp_path / "code.json")

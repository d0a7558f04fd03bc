"""Damage is noticed when the artifact is used, put aside, said once, and made anew."""

import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import files
from scripts.lib.artifacts.store import Store
from scripts.lib.jobs.job import Job
from tests.cache.people import plan, run, workflow, write_own
from tests.cache.test_race import is_whole


def cut(file: Path) -> None:
    """Truncate a file, as a full disk or a crash does."""
    file.write_bytes(file.read_bytes()[:-1])


def alter(file: Path) -> None:
    """Change a byte, as a failing disk or a careless hand does."""
    file.write_bytes(b"X" + file.read_bytes()[1:])


def hurt(place: Path, how) -> None:
    """Damage the first file of the artifact whose folder is *place*, and no link of it."""
    file = place / "part/0.jsonl"
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    copy.chmod(0o644)
    how(copy)
    copy.replace(file)


def fetched(home: Path, project: Path, cache: Path, where: str) -> Path:
    """Fetch both datasets, keep them in results/ or in the cache, and return the first folder."""
    home.mkdir()
    with chdir(home):
        missing, file = plan(project, cache)
        raw = [id for id in missing if id.startswith("raw/")]
        for id in raw:
            run(id, file, lambda job: write_own(job, "ann"))
        name = raw[0].partition("/")[2]
        if where == "results":
            shutil.rmtree(cache / "raw")
            return home / "results" / raw[0]
        shutil.rmtree("results")
        return cache / raw[0] / name


@pytest.mark.parametrize("how", [cut, alter], ids=["cut", "altered"])
@pytest.mark.parametrize("where", ["results", "cache"])
def test_damage_after_planning_is_put_aside_and_made_anew_by_the_next_plan(
    commons, project, cache, where, how
):
    home = commons / "home"
    bad = fetched(home, project, cache, where)
    with chdir(home):
        missing, file = plan(project, cache)
        assert all(id.startswith("chat/") for id in missing)
        hurt(bad, how)
        with pytest.raises(SystemExit) as stop:
            run(missing[0], file, lambda job: write_own(job, "ann"))
        assert str(stop.value).count("\n") == 0
        assert "0.jsonl is not what its manifest says" in str(stop.value)
        assert "Run again: it is made anew" in str(stop.value)
        stage = home / "results/raw" if where == "results" else cache / "raw"
        assert len(list((stage / ".quarantine").iterdir())) == 1
        missing, _ = plan(project, cache)
        assert [id.partition("/")[0] for id in missing] == ["raw", "chat", "chat"]
        workflow(home, project, cache, "ann")
        assert plan(project, cache)[0] == []
    assert all(is_whole(entry) for entry in cache.glob("[!.]*/[!.]*"))


@pytest.mark.parametrize("where", ["results", "cache"])
def test_damage_that_shows_in_the_size_is_made_anew_at_once(commons, project, cache, where, capfd):
    home = commons / "home"
    hurt(fetched(home, project, cache, where), cut)
    with chdir(home):
        missing, _ = plan(project, cache)
        assert [id.partition("/")[0] for id in missing] == ["raw", "chat", "chat"]
    workflow(home, project, cache, "ann")
    assert all(is_whole(entry) for entry in cache.glob("[!.]*/[!.]*"))
    said = "the cache's entry was damaged; moved to" in capfd.readouterr().err
    assert said == (where == "cache")


def test_a_linked_file_altered_in_both_places_is_made_anew_within_two_runs(commons, project, cache):
    """Who overrides the read-only mode of a result alters the cache's entry too: one inode."""
    home = commons / "home"
    home.mkdir()
    workflow(home, project, cache, "ann")
    shutil.rmtree(cache / "chat")
    shutil.rmtree(home / "results/chat")
    victim = next(home.glob("results/raw/[!.]*/part/0.jsonl"))
    assert victim.stat().st_nlink == 2
    victim.chmod(0o644)
    alter(victim)
    for _ in range(2):
        with pytest.raises(SystemExit, match="Run again"):
            workflow(home, project, cache, "ann")
    workflow(home, project, cache, "ann")
    assert all(is_whole(entry) for entry in cache.glob("[!.]*/[!.]*"))


def test_damage_that_would_only_have_been_a_shortcut_costs_nothing(commons, project, cache, capfd):
    """A job finds its own work done by someone else meanwhile, but badly: it does it itself."""
    home = commons / "home"
    fetched(home, project, cache, "results")
    (other := commons / "other").mkdir()
    with chdir(home):
        missing, file = plan(project, cache)
        (commons / "home/results").rename(commons / "aside")
        shutil.copytree(commons / "aside", home / "results")
        shutil.copytree(commons / "aside", other / "results")
        workflow(other, project, cache, "bob")
        for place in cache.glob("chat/[!.]*/[!.]*/part/0.jsonl"):
            hurt(place.parents[1], alter)
        for id in missing:
            run(id, file, lambda job: write_own(job, "ann"))
    assert "it is made here instead" in capfd.readouterr().out
    assert all(is_whole(entry) for entry in cache.glob("[!.]*/[!.]*"))


@pytest.mark.parametrize("where", ["results", "cache"])
def test_a_job_whose_input_is_made_anew_meanwhile_does_not_vouch_for_it(
    commons, project, cache, where
):
    """Someone asks for the input again, and its new bytes differ from those that the job read."""
    home = commons / "home"
    place = fetched(home, project, cache, where)

    def work(job: Job) -> dict[str, Any]:
        (job.folder("raw") / "part/0.jsonl").read_bytes()
        manifest_path = place.with_name(f"{place.name}.json")
        manifest = files.read_json(manifest_path)
        (commons / "new").mkdir()
        (commons / "new/0.jsonl").write_text("other bytes")
        listed = files.list_files(commons / "new")
        manifest["files"] = [entry._asdict() for entry in listed]
        manifest["content"] = files.content_of(listed)
        if where == "cache":
            store = Store(Path("results"), (cache,))
            store.publish(commons / "new", manifest, what="files", replace=True)
        else:
            shutil.rmtree(place)
            (commons / "new").rename(place)
            files.write_json(manifest_path, manifest)
        return write_own(job, "ann")

    with chdir(home):
        missing, file = plan(project, cache)
        with pytest.raises(SystemExit, match="was made anew while this job read it: run again"):
            run(missing[0], file, work)
        assert not (home / f"results/{missing[0]}.json").exists()
        workflow(home, project, cache, "ann")
        assert plan(project, cache)[0] == []

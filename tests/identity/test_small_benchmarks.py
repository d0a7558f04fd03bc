"""Which subjects a scoring job asks: those that are wanted, in few jobs where they are few."""

from pathlib import Path

import pytest

from scripts.lib import pipeline_sources
from tests.identity.world import World
from tests.identity.worlds import make_hub_world, make_local_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return the world whose benchmark asks four subjects of three categories."""
    return make_local_world(tmp_path / "world")


def asked(world: World) -> list[list[str]]:
    """Return the subjects of each job that scores the first candidate on `mmlu`."""
    graph = world.graph()
    jobs = graph.candidates[0].scores["mmlu"]
    return [list(graph.artifacts[job].spec["subjects"]) for job in jobs]


def test_a_small_benchmark_is_one_job_under_every_category_map(world, monkeypatch) -> None:
    assert len(asked(world)) > 1
    monkeypatch.setattr(pipeline_sources, "ONE_JOB_QUESTIONS", 500)
    for category_map in ("hendrycks", "lm-eval"):
        world.config["benchmarks"]["mmlu"]["categories"] = category_map
        assert asked(world) == [["anatomy", "astronomy", "college_physics", "philosophy"]]


@pytest.mark.parametrize("small", [True, False], ids=["one job", "jobs by category"])
@pytest.mark.parametrize(
    "wanted",
    [["astronomy"], ["college_physics", "astronomy"], ["philosophy", "anatomy"], None],
    ids=["one", "of one category", "of two categories", "all"],
)
def test_only_wanted_subjects_are_asked(world, monkeypatch, small, wanted) -> None:
    monkeypatch.setattr(pipeline_sources, "ONE_JOB_QUESTIONS", 500 if small else 0)
    world.config["benchmarks"]["mmlu"]["subjects"] = wanted
    jobs = asked(world)
    there = [place.stem for place in (world.home / "data/mmlu/test").glob("*.jsonl")]
    assert sorted(subject for job in jobs for subject in job) == sorted(wanted or there)
    assert len(jobs) == 1 or not small


def test_only_wanted_subjects_of_a_hub_benchmark_are_asked(tmp_path) -> None:
    world = make_hub_world(tmp_path / "world")
    assert asked(world) == [["anatomy"]]


def test_a_few_subjects_of_a_large_benchmark_are_one_job(world, monkeypatch) -> None:
    counts = {
        place.stem: len(place.read_text().splitlines())
        for place in (world.home / "data/mmlu/test").glob("*.jsonl")
    }
    wanted = ["anatomy", "philosophy"]
    few = sum(counts[subject] for subject in wanted)
    assert few < sum(counts.values())
    monkeypatch.setattr(pipeline_sources, "ONE_JOB_QUESTIONS", few)
    world.config["benchmarks"]["mmlu"]["subjects"] = wanted
    assert asked(world) == [wanted]

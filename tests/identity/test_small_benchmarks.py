"""A small benchmark is one scoring job; the sums by category come from it all the same."""

from scripts.lib import pipeline_sources
from tests.identity.worlds import make_local_world


def test_a_small_benchmark_is_one_job_under_every_category_map(tmp_path, monkeypatch) -> None:
    world = make_local_world(tmp_path / "world")
    (candidate, *_) = world.graph().candidates
    assert len(candidate.scores["mmlu"]) > 1
    monkeypatch.setattr(pipeline_sources, "ONE_JOB_QUESTIONS", 500)
    (candidate, *_) = world.graph().candidates
    assert len(candidate.scores["mmlu"]) == 1
    (job,) = candidate.scores["mmlu"]
    assert "anatomy" in world.graph().artifacts[job].spec["subjects"]

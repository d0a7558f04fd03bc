"""Scores by subject: what is asked when subjects come and go, or a batch ends in the middle."""

import shutil
import threading

import pytest

from scripts.lib import files
from scripts.lib.artifacts.batches import Batching, batches_of
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.benchmarks.lm_eval import resolve as lm_eval_leaves
from tests.identity.rows_config import put
from tests.identity.rows_files import add_constant
from tests.identity.table import END, RUNS, categories
from tests.identity.world import World

ALL = ("tiny", *RUNS)
SUBJECTS = ["anatomy", "astronomy", "college_physics", "philosophy"]


def asked(world: World) -> list[str]:
    """Return the subjects of the benchmark `mmlu` that were really asked, in order."""
    graph = world.graph()
    of_mmlu = [id for c in graph.candidates for id in c.scores["mmlu"]]
    return [str(graph.artifacts[id].spec["subject"]) for id in world.worked if id in of_mmlu]


def only(world: World, *subjects: str) -> None:
    """Let the config name these subjects of `mmlu`."""
    put("benchmarks/mmlu/subjects", list(subjects))(world)


@pytest.fixture
def fresh(world) -> World:
    """A world in which all but the scores on `mmlu` is made."""
    graph = world.graph()
    for candidate in graph.candidates:
        for id in candidate.scores["mmlu"]:
            shutil.rmtree(world.results / id)
            (world.results / f"{id}.json").unlink()
    for stage in ("categories", "comparisons", "reports", "batches"):
        shutil.rmtree(world.results / stage)
    return world


def test_every_subject_has_scores_of_its_own_under_its_name(world):
    graph = world.graph()
    for candidate in graph.candidates:
        names = [id.rpartition("-")[0] for id in candidate.scores["mmlu"]]
        slugs = [subject.replace("_", "-") for subject in SUBJECTS]
        assert [name.endswith(f"-mmlu-{s}") for name, s in zip(names, slugs, strict=True)] == (
            [True] * len(SUBJECTS)
        )


def test_one_subject_more_asks_each_candidate_that_subject_alone(fresh):
    only(fresh, "astronomy", "philosophy")
    fresh.run()
    fresh.worked.clear()
    only(fresh, "anatomy", "astronomy", "philosophy")
    fresh.run()
    assert asked(fresh) == ["anatomy"] * len(ALL)


def test_one_subject_less_asks_nobody(world):
    only(world, *SUBJECTS[1:])
    assert world.run() == categories(*ALL, on=["mmlu"]) | END
    assert asked(world) == []


def test_another_category_map_asks_nobody(world):
    put("benchmarks/mmlu/categories", "lm-eval")(world)
    assert world.run() == categories(*ALL, on=["mmlu"]) | END


def stop_at(world: World, number: int) -> None:
    """Let the work of a batch end in an error at its so many-th subject."""
    begun = []

    def during(id: str) -> None:
        begun.append(id)
        if len(begun) == number:
            raise KeyboardInterrupt

    world.during = during


def test_a_batch_that_is_killed_in_the_middle_keeps_its_finished_subjects(fresh):
    stop_at(fresh, 3)
    with pytest.raises(KeyboardInterrupt):
        fresh.run()
    assert asked(fresh) == SUBJECTS[:2]
    assert not list((fresh.results / "batches").glob("*.json"))
    fresh.during = lambda id: None
    fresh.worked.clear()
    (left,) = [ids for ids in fresh.batches(fresh.invoke()).values() if len(ids) == 2]
    assert [id.split("-mmlu-")[1].rsplit("-", 1)[0] for id in left] == [
        "college-physics",
        "philosophy",
    ]
    fresh.run()
    assert asked(fresh) == [*SUBJECTS[2:], *SUBJECTS * (len(ALL) - 1)]
    assert fresh.missing() == set()


@pytest.mark.parametrize("redo", [False, True], ids=["made", "made again on request"])
def test_a_second_try_of_the_same_plan_goes_on_with_what_is_left(world, fresh, redo):
    if redo:
        fresh.run()
        put("redo", "tiny")(fresh)
    fresh.worked.clear()
    invocation = fresh.invoke()
    name, ids = next((n, ids) for n, ids in fresh.batches(invocation).items() if len(ids) == 4)
    stop_at(fresh, 2)
    with pytest.raises(KeyboardInterrupt):
        fresh.job(invocation, ids[0])
    fresh.during = lambda id: None
    fresh.job(invocation, ids[0])
    assert fresh.worked == ids
    assert (fresh.home / f"results/{name}.json").exists()
    if not redo:
        return
    fresh.worked.clear()
    later = fresh.invoke()
    assert later.file != invocation.file, "asked for once more, it is made once more"
    fresh.job(later, ids[0])
    assert fresh.worked == ids


def test_a_token_without_its_scores_counts_for_nothing(fresh):
    """Someone deletes scores: Snakemake must not take the token of before for their maker's."""
    fresh.run()
    first = fresh.graph().candidates[0].scores["mmlu"]
    for id in first:
        shutil.rmtree(fresh.results / id)
        (fresh.results / f"{id}.json").unlink()
    put("report/title", "Another")(fresh)
    for stage in ("categories", "comparisons"):
        shutil.rmtree(fresh.results / stage)
    invocation = fresh.invoke()
    with fresh.inside():
        ((name, batch),) = files.read_json(invocation.file)["batches"].items()
    assert batch["artifacts"] == list(first)
    assert (fresh.home / f"results/{name}.json").exists()
    assert batch["anew"], "the plan, which is newer than the token, is an input of the job"
    fresh.worked.clear()
    fresh.run()
    assert asked(fresh) == SUBJECTS


def test_subjects_that_a_colleague_has_are_not_asked(clone):
    """The cache holds two of the four; the batch holds the others."""
    only(clone, "astronomy", "philosophy")
    assert clone.missing() == categories(*ALL, on=["mmlu"]) | END
    clone.run()
    assert asked(clone) == []


def test_scores_that_a_shared_file_system_shows_late_are_waited_for(fresh):
    """Snakemake knows the token of a batch, and waits for nothing else of it."""
    invocation = fresh.invoke()
    fresh.run(invocation, stages=["scores"])
    category = fresh.graph().candidates[0].categories["mmlu"]
    place = fresh.results / f"{fresh.graph().candidates[0].scores['mmlu'][0]}.json"
    hidden = place.with_name("hidden")
    place.rename(hidden)
    shown = threading.Timer(1.5, hidden.rename, [place])
    shown.start()
    fresh.job(invocation, category)
    shown.join()
    assert fresh.manifest(category)["inputs"]["scores"]


def test_tasks_behind_a_group_are_found_anew_when_the_code_that_finds_them_changes(
    worlds, tmp_path, monkeypatch
):
    world = worlds["tasks"].copy(tmp_path / "world")
    asked = []
    honest = lm_eval_leaves.find_leaves
    monkeypatch.setattr(
        lm_eval_leaves, "find_leaves", lambda *given: asked.append(given[0]) or honest(*given)
    )
    world.graph()
    assert asked == [], "remembered"
    add_constant("scripts/lib/benchmarks/lm_eval/resolve.py")(world)
    world.graph()
    assert asked == [("gsm8k",)]


def graph_of(count: int) -> Graph:
    """Return a graph of so many subjects of two benchmarks."""
    lock = {library: "1" for library in STAGES["scores"].libraries}
    graph = Graph(lambda *_: "code", lock)
    for benchmark in ("a", "b"):
        for number in range(count):
            spec = {"benchmark": benchmark, "subject": f"s{number}"}
            graph.add("scores", f"m-{benchmark}-s{number}", spec)
    return graph


@pytest.mark.parametrize(
    ("count", "batching", "sizes"),
    [
        (1, Batching(12, 4), [1]),
        (12, Batching(12, 4), [12]),
        (13, Batching(12, 4), [7, 6]),
        (48, Batching(12, 4), [12, 12, 12, 12]),
        (57, Batching(12, 4), [15, 14, 14, 14]),
        (57, Batching(57, 4), [57]),
        (3, Batching(1, 100), [1, 1, 1]),
    ],
)
def test_batches_are_bounded_in_size_and_number(count, batching, sizes):
    graph = graph_of(count)
    found = list(batches_of(graph, graph.artifacts, batching).values())
    assert [len(ids) for ids in found] == sizes * 2
    assert sorted(id for ids in found for id in ids) == sorted(graph.artifacts)


@pytest.mark.parametrize(("size", "number"), [(0, 4), (12, 0), (-1, 4)])
def test_a_batch_of_nothing_is_refused(size, number):
    with pytest.raises(ValueError, match="at least 1"):
        Batching(size, number)

"""The walk from the targets, and the frozen plan that jobs read."""

import json
from pathlib import Path

import pytest

from scripts.lib.artifacts.graph import Candidate, Gate, Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Found
from scripts.lib.errors import ConfigError
from scripts.lib.plan.missing import freeze, make_plan, read_frozen

LOCK = {library: "1" for stage in STAGES.values() for library in stage.libraries}


@pytest.fixture
def graph(tmp_path) -> Graph:
    """A chain: raw, chat, shards; a report that reads shards and knows chat; chat gates shards."""
    graph = Graph(lambda *_: "code", LOCK)
    source = tmp_path / "rows.jsonl"
    source.write_text("{}")
    raw = graph.add(
        "raw", "r", {"source": "path", "files": {"train.jsonl": "0"}}, sources=[str(source)]
    )
    chat = graph.add("chat", "c", {}, reads={"raw": raw})
    shards = graph.add("shards", "s", {}, reads={"chat": chat}, gates=[Gate("ledger", chat, 0.1)])
    graph.report = graph.add("reports", "all", {}, reads={"shards": shards}, knows={"facts": chat})
    graph.candidates.append(Candidate("run", "run", "base", {"shards": shards}, {}, {}))
    return graph


class Shelf:
    """An inventory that is told what is there."""

    def __init__(self, graph: Graph, present=(), evicted=()):
        self.asked: list[str] = []
        self._there = {
            graph.artifacts[id].key: (id, id not in evicted) for id in (*present, *evicted)
        }

    def look(self, id: str, *hashes: str) -> Found | None:
        self.asked.append(id)
        for value in hashes:
            if value in self._there:
                name, whole = self._there[value]
                place = Path("results") / name
                return Found(
                    name,
                    place if whole else None,
                    place.with_name(f"{place.name}.json"),
                    {"content": f"content of {name}", "files": []},
                )
        return None


def by_stage(graph: Graph, *stages: str) -> list[str]:
    return [id for id in graph.artifacts if id.partition("/")[0] in stages]


def missing(plan) -> list[str]:
    return [id.partition("/")[0] for id in plan.missing]


def test_where_nothing_is_everything_is_made_inputs_first(graph):
    assert missing(make_plan(graph, Shelf(graph))) == ["raw", "chat", "shards", "reports"]


def test_the_walk_stops_at_what_is_there(graph):
    shelf = Shelf(graph, by_stage(graph, "reports"))
    assert missing(make_plan(graph, shelf)) == []
    assert set(shelf.asked) == {graph.report}


def test_an_evicted_artifact_is_made_again_only_for_someone_who_reads_it(graph):
    shelf = Shelf(graph, by_stage(graph, "shards"), by_stage(graph, "raw", "chat"))
    assert missing(make_plan(graph, shelf)) == ["reports"]
    shelf = Shelf(graph, by_stage(graph, "raw"), by_stage(graph, "chat"))
    assert missing(make_plan(graph, shelf)) == ["chat", "shards", "reports"]


def test_who_knows_first_and_who_reads_later_are_both_served(graph):
    """The same evicted artifact, met as a manifest before it is met as files."""
    (chat,) = by_stage(graph, "chat")
    (raw,) = by_stage(graph, "raw")
    target = graph.add("proofs", "p", {}, knows={"chat": chat})
    reader = graph.add("merged", "m", {}, reads={"chat": chat})
    shelf = Shelf(graph, [raw], [chat])
    for targets in ([target, reader], [reader, target]):
        plan = make_plan(graph, shelf, targets=targets)
        assert sorted(missing(plan)) == ["chat", "merged", "proofs"]
        assert chat not in plan.found


def test_a_gate_needs_the_manifest_that_holds_the_finding(graph):
    shelf = Shelf(graph, by_stage(graph, "raw"))
    (shards,) = by_stage(graph, "shards")
    assert missing(make_plan(graph, shelf, targets=[shards])) == ["chat", "shards"]


def test_a_target_that_is_evicted_is_made(graph):
    shelf = Shelf(graph, by_stage(graph, "shards", "chat"), [graph.report])
    assert missing(make_plan(graph, shelf)) == ["reports"]


@pytest.mark.parametrize(
    ("redo", "made"),
    [
        (["chat"], ["chat", "shards", "reports"]),
        (["reports"], ["reports"]),
        (["raw", "reports"], ["raw", "chat", "shards", "reports"]),
        (["adapters"], []),
    ],
)
def test_redo_makes_a_stage_and_what_follows_although_it_is_there(graph, redo, made):
    plan = make_plan(graph, Shelf(graph, graph.artifacts), redo=redo)
    assert missing(plan) == made
    assert plan.again == set(plan.missing)


def test_redo_of_a_run_with_seeds_is_of_all_its_runs(graph):
    for seed in (1, 2):
        id = graph.add("adapters", f"seed{seed}", {"seed": seed})
        made = {"adapters": id}
        run = Candidate(f"gentle-seed{seed}", "run", None, made, {}, {}, group="gentle")
        graph.candidates.append(run)
    for redo, seeds in ((["gentle"], (0, 1)), (["gentle-seed2"], (1,))):
        ids = by_stage(graph, "adapters")
        plan = make_plan(graph, Shelf(graph, graph.artifacts), targets=ids, redo=redo)
        assert plan.again == {ids[seed] for seed in seeds}


def test_redo_of_nothing_is_refused_with_what_there_is(graph):
    with pytest.raises(ConfigError, match=r"'rnu' is no run.*run; stages: models, raw"):
        make_plan(graph, Shelf(graph), redo=["rnu"])


def frozen(plan, tmp_path, **options) -> tuple[Path, dict]:
    file = freeze(plan, results=tmp_path / "results", caches=[], root=tmp_path, **options)
    return file, read_frozen(file)


def test_equal_plans_are_one_file_and_other_plans_are_others(graph, tmp_path):
    one, _ = frozen(make_plan(graph, Shelf(graph)), tmp_path)
    again, _ = frozen(make_plan(graph, Shelf(graph)), tmp_path)
    other, _ = frozen(make_plan(graph, Shelf(graph, by_stage(graph, "raw"))), tmp_path)
    assert one == again != other


def test_a_plan_holds_all_that_a_job_needs(graph, tmp_path):
    _, content = frozen(make_plan(graph, Shelf(graph)), tmp_path)
    (raw, chat, shards, _) = graph.artifacts
    entry = content["artifacts"][shards]
    assert entry["reads"] == {"chat": [[chat, str(tmp_path / "results" / chat)]]}
    assert entry["gates"] == [["ledger", chat, str(tmp_path / "results" / chat), 0.1]]
    assert entry["key"] == graph.artifacts[shards].key
    ((path, stat),) = content["artifacts"][raw]["sources"]
    assert path == str(tmp_path / "rows.jsonl")
    assert stat[0] == 2


def test_a_plan_has_no_place_for_threads_batches_or_devices(graph, tmp_path):
    """Execution belongs to the rules and profiles; what is not in the plan changes no identity."""
    _, content = frozen(make_plan(graph, Shelf(graph)), tmp_path)
    assert set(content) == {
        "artifacts", "batches", "caches", "full", "prefetch", "publish", "results", "root", "stamp",
        "targets",
    }  # fmt: skip
    for entry in content["artifacts"].values():
        assert set(entry) == {
            "stage", "slug", "key", "spec", "code", "pins", "reads", "knows", "gates", "awaits",
            "sources", "execution", "again", "anew", "kinds",
        }  # fmt: skip


def waits(graph: Graph, tmp_path, present=(), evicted=(), **options) -> dict[str, list[str]]:
    """Return stage -> stages that its artifact waits for, where the given ones are there."""
    plan = make_plan(graph, Shelf(graph, present, evicted))
    _, content = frozen(plan, tmp_path, **options)
    return {
        entry["stage"]: [id.partition("/")[0] for id in entry["awaits"]]
        for entry in content["artifacts"].values()
    }


def test_an_artifact_waits_for_what_nothing_else_it_waits_for_implies(graph, tmp_path):
    """The report knows chat too, and gets it with the shards, which are made of it."""
    assert waits(graph, tmp_path) == {
        "raw": [],
        "chat": ["raw"],
        "shards": ["chat"],
        "reports": ["shards"],
    }


def test_nobody_waits_for_what_is_there(graph, tmp_path):
    made = by_stage(graph, "raw", "chat")
    assert waits(graph, tmp_path, made) == {"shards": [], "reports": ["shards"]}


def test_what_is_there_implies_nothing_of_what_is_made_again(graph, tmp_path):
    """Shards that are there do not wait for their chat, so the report waits for it itself."""
    made = by_stage(graph, "raw", "shards")
    assert waits(graph, tmp_path, made) == {"chat": [], "reports": ["chat"]}


def test_a_gate_is_waited_for(graph, tmp_path):
    chat, raw = by_stage(graph, "chat", "raw")[::-1]
    graph.report = graph.add("merged", "m", {}, reads={"raw": raw}, gates=[Gate("ledger", chat)])
    assert waits(graph, tmp_path)["merged"] == ["chat"]


def test_a_full_plan_shows_every_edge(graph, tmp_path):
    assert waits(graph, tmp_path, full=True)["reports"] == ["shards", "chat"]


def test_inputs_that_lie_elsewhere_are_named_where_they_lie(graph, tmp_path):
    (shards,) = by_stage(graph, "shards")
    plan = make_plan(graph, Shelf(graph, by_stage(graph, "raw", "chat")), targets=[shards])
    _, content = frozen(plan, tmp_path)
    ((chat, place),) = content["artifacts"][shards]["reads"]["chat"]
    assert place == f"results/{chat}"


def test_what_is_there_and_made_all_the_same_gets_a_plan_of_its_own_time(graph, tmp_path):
    """Snakemake makes files anew when an input is newer: the plan is that input."""
    plan = make_plan(graph, Shelf(graph))
    one, content = frozen(plan, tmp_path)
    assert not any(entry["anew"] for entry in content["artifacts"].values())
    (raw, *_) = plan.missing
    (tmp_path / "results" / raw).mkdir(parents=True)
    two, content = frozen(plan, tmp_path)
    three, _ = frozen(plan, tmp_path)
    assert content["artifacts"][raw]["anew"]
    assert len({one, two, three}) == 3


def test_a_full_plan_lists_what_is_there_too(graph, tmp_path):
    plan = make_plan(graph, Shelf(graph, graph.artifacts))
    assert frozen(plan, tmp_path)[1]["artifacts"] == {}
    _, content = frozen(plan, tmp_path, full=True)
    assert set(content["artifacts"]) == set(graph.artifacts)
    assert json.dumps(content, sort_keys=True)

"""A run on several datasets in the plan: what decides its bytes, and what may forbid it."""

import dataclasses

import pytest

from scripts.lib.errors import ConfigError
from tests.unit.plan.test_base_templates import HUB, PLAIN, RUN, home, planned  # noqa: F401
from tests.unit.scoring_data import write_rows

DATASETS = {name: {"path": f"{name}.jsonl"} for name in ("own", "general", "third")}


@pytest.fixture
def plan(home):  # noqa: F811
    """Return the function that plans a run on some datasets; it gives graph, adapter, candidate."""
    for name in DATASETS:
        rows = [{"prompt": f"{name} {n}", "completion": f"{n}"} for n in range(40)]
        write_rows(home / f"{name}.jsonl", rows)

    def look(dataset, datasets=DATASETS, **run):
        runs = {"r": RUN | {"dataset": dataset} | run}
        graph = planned(home, {"b": PLAIN}, model=HUB, runs=runs, datasets=datasets)
        (candidate,) = (one for one in graph.candidates if one.name == "r")
        stage = "trained" if run.get("lora", 0) is None else "adapters"
        return graph, graph.artifacts[candidate.artifacts[stage]], candidate

    return look


@pytest.mark.parametrize(
    "dataset", [["own"], {"own": None}, {"own": 3}, {"own": {"repeat": 1, "weight": 2}}]
)
def test_a_mixture_of_one_plain_dataset_is_that_dataset(plan, dataset):
    _, plain, _ = plan("own")
    _, mixed, candidate = plan(dataset)
    assert mixed.key == plain.key
    assert mixed.id == plain.id
    assert "mixture" not in plain.spec
    assert candidate.datasets == ()


@pytest.mark.parametrize("dataset", [{"own": {"repeat": 2}}, {"own": {"max_rows": 9}}])
def test_one_dataset_may_be_capped_or_repeated(plan, dataset):
    _, plain, _ = plan("own")
    _, mixed, candidate = plan(dataset)
    assert mixed.key != plain.key
    assert mixed.reads == plain.reads
    assert candidate.artifacts["shards"] == plain.reads["shards"][0]


def test_neither_the_order_nor_the_names_of_datasets_count(plan):
    _, one, _ = plan({"own": 4, "general": {"weight": 1, "max_rows": 9}})
    _, turned, _ = plan({"general": {"weight": 1, "max_rows": 9}, "own": 4})
    renamed = {"z": DATASETS["own"], "a": DATASETS["general"]}
    _, other, _ = plan({"a": {"weight": 1, "max_rows": 9}, "z": 4}, renamed)
    assert one.key == turned.key == other.key
    assert one.reads["shards"] == other.reads["shards"]


def test_weights_count_as_the_shares_that_they_make(plan):
    keys = [plan(d)[1].key for d in ({"own": 4, "general": 1}, {"own": 0.8, "general": 0.2})]
    assert keys[0] == keys[1]
    assert plan({"own": 3, "general": 1})[1].key != keys[0]


def test_which_dataset_has_which_weight_counts(plan):
    _, one, _ = plan({"own": 4, "general": 1})
    _, swapped, _ = plan({"own": 1, "general": 4})
    assert one.key != swapped.key


@pytest.mark.parametrize(
    "changed",
    [
        {"own": 5, "general": 1},
        {"own": {"weight": 4, "repeat": 2}, "general": 1},
        {"own": 4, "general": {"weight": 1, "max_rows": 10}},
        ["own", "general"],
    ],
)
@pytest.mark.parametrize("run", [{}, {"lora": None}])
def test_weights_caps_and_repeats_train_again_and_render_nothing(plan, changed, run):
    before, one, _ = plan({"own": 4, "general": 1}, **run)
    after, other, _ = plan(changed, **run)
    assert one.key != other.key
    early = ("chat", "shards", "examples")
    made = [
        {id for id, a in graph.artifacts.items() if a.stage in early} for graph in (before, after)
    ]
    assert made[0] == made[1]
    assert len(made[0]) == 6


def test_the_ledgers_and_contracts_of_every_dataset_gate(plan):
    datasets = {n: one | {"max_dropped_fraction": 0.1} for n, one in DATASETS.items()}
    graph, adapter, candidate = plan({"own": 1, "general": 1, "third": 2}, datasets, max_growth=3.0)
    shards, chats = candidate.made_in("shards"), candidate.made_in("chat")
    assert len(shards) == len(chats) == 3
    asked = {(gate.kind, gate.artifact): gate.limit for gate in adapter.gates}
    for one in shards:
        assert asked["contract", one] is None
        assert (asked["rendering", one], asked["growth", one]) == (0.1, 3.0)
    of_shards = [gate for one in shards for gate in graph.artifacts[one].gates]
    ledgers = {(g.artifact, g.limit) for g in of_shards if g.kind == "ledger"}
    assert ledgers == {(chat, 0.1) for chat in chats}


def test_rows_of_every_dataset_are_looked_at_while_planning(plan, home):  # noqa: F811
    write_rows(home / "general.jsonl", [{"prompt": "", "completion": ""}])
    with pytest.raises(ConfigError, match=r"datasets\.general: .*none of 1 rows can be used"):
        plan(["own", "general"])


def test_the_same_rows_under_two_names_are_refused_with_what_to_write(plan):
    twice = {**DATASETS, "copy": DATASETS["own"]}
    with pytest.raises(ConfigError, match=r"runs\.r: its dataset names own and copy, .*repeat: 2"):
        plan(["own", "copy"], twice)


def test_each_dataset_of_a_mixture_has_its_examples_and_its_place_in_the_report(plan):
    graph, adapter, candidate = plan({"own": 4, "general": 1})
    report = graph.artifacts[graph.report]
    assert {*report.reads["examples"]} == {*candidate.made_in("examples")}
    assert {*candidate.made_in("raw"), *candidate.made_in("chat"), *adapter.reads["shards"]} <= {
        *report.knows["facts"]
    }
    (told,) = (one for one in report.spec["candidates"] if one["name"] == "r")
    assert [one["shards"] for one in told["datasets"]] == [*adapter.reads["shards"]]
    assert {one["name"] for one in told["datasets"]} == {"own", "general"}


def test_runs_on_other_shares_are_not_on_the_same_data(plan):
    def trained_on(dataset):
        graph, _, _ = plan(dataset)
        (comparison,) = (a for a in graph.artifacts.values() if a.stage == "comparisons")
        (told,) = (one for one in comparison.spec["candidates"] if one["name"] == "r")
        return told["trained_on"]

    shares = [{"own": 4, "general": 1}, {"general": 1, "own": 4}, {"own": 1, "general": 1}]
    first, turned, other = map(trained_on, shares)
    assert first == turned != other
    assert trained_on("own").startswith("chat/own-")


def test_the_card_names_every_source_with_what_was_taken_of_it(plan):
    graph, adapter, candidate = plan({"own": 4, "general": 1})
    (part,) = graph.artifacts[candidate.artifacts["merged"]].spec["card"]["parts"]
    assert part["data"] == [graph.artifacts[id].spec for id in candidate.made_in("raw")]
    assert part["mixture"] == adapter.spec["mixture"]


ASKED = {"kind": "multiple_choice", "path": "asked.jsonl", "shots": 0}


@pytest.fixture
def left_out(plan, home):  # noqa: F811
    """Return the function that plans a mixture without the questions of a benchmark."""
    rows = [{"question": f"What is {n}?", "choices": ["a", "b"], "answer": "A"} for n in range(4)]
    write_rows(home / "asked.jsonl", rows)

    def look(dataset, **run):
        runs = {"r": RUN | {"dataset": dataset, "on_contamination": "drop"} | run}
        graph = planned(home, {"b": ASKED}, model=HUB, runs=runs, datasets=DATASETS)
        (candidate,) = (one for one in graph.candidates if one.name == "r")
        return graph, graph.artifacts[candidate.artifacts["adapters"]], candidate

    return look


def test_questions_are_left_out_of_each_dataset_before_it_is_rendered(left_out):
    graph, adapter, candidate = left_out({"own": 4, "general": 1})
    left = candidate.made_in("decontaminated")
    assert len(left) == 2
    assert {*left} == {
        chat for shards in adapter.reads["shards"] for chat in graph.artifacts[shards].reads["chat"]
    }
    # Each is searched for itself, so that a dataset in which nothing is found stays as it is.
    for id, chat in zip(left, candidate.made_in("chat"), strict=True):
        assert graph.artifacts[id].reads["chat"] == (chat,)
    gated = {gate.artifact for s in adapter.reads["shards"] for gate in graph.artifacts[s].gates}
    assert {*left} <= gated


def test_another_weight_leaves_out_and_renders_nothing_anew(left_out):
    before, one, _ = left_out({"own": 4, "general": 1})
    after, other, _ = left_out({"own": 1, "general": 1})
    early = ("decontaminated", "contamination", "shards")
    made = [{id for id, a in g.artifacts.items() if a.stage in early} for g in (before, after)]
    assert made[0] == made[1]
    assert one.key != other.key


def test_a_candidate_holds_what_was_made_of_each_dataset_once(plan):
    _, _, candidate = plan({"own": 4, "general": 1})
    assert not {"raw", "chat", "shards", "examples"} & candidate.artifacts.keys()
    assert dataclasses.replace(candidate, datasets=()).made_in("shards") == ()

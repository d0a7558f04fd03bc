"""Models that exist already: what is refused of them before any job, and what is planned."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from scripts.lib.errors import ConfigError, GateError
from scripts.lib.jobs.checks import check_gate
from tests.unit.plan.test_base_templates import (
    EXACT,
    HUB,
    PLAIN,
    RUN,
    TEXT,
    home,  # noqa: F401  a fixture
    planned,
    write_folder,
)
from tests.unit.scoring_data import write_rows

OWN = {"chat_template.jinja": TEXT}
WEIGHTS = "adapter_model.safetensors"


def refusal(home, candidate, benchmark=PLAIN, **more) -> str:  # noqa: F811
    with pytest.raises(ConfigError) as error:
        planned(home, {"b": benchmark}, candidates={"mine": candidate}, **more)
    return str(error.value)


def gates_of(graph, kind):
    return [g for one in graph.artifacts.values() for g in one.gates if g.kind == kind]


def test_a_checkpoint_is_a_model_with_scores_and_nothing_is_trained_or_merged(home):  # noqa: F811
    write_folder(home / "sft", OWN)
    graph = planned(home, {"b": PLAIN}, candidates={"mine": {"model": "sft", "base": "base"}})
    stages = [artifact.stage for artifact in graph.artifacts.values()]
    assert stages.count("models") == 2
    assert stages.count("scores") == 2
    assert not {"adapters", "merged", "proofs"} & set(stages)
    mine = graph.candidates[-1]
    assert (mine.kind, mine.base, mine.unmerged) == ("checkpoint", "base", False)


def test_a_checkpoint_shares_what_a_model_of_the_same_files_has(home):  # noqa: F811
    write_folder(home / "sft", OWN)
    more = {"others": {"twin": {"path": "sft"}}}
    graph = planned(
        home,
        {"b": EXACT},
        model={"path": "sft"},
        candidates={"mine": {"model": "sft", "base": "base"}},
        **more,
    )
    scores = [candidate.scores["b"] for candidate in graph.candidates]
    assert len(set(scores)) == 1


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("nowhere", "candidates.mine: 'nowhere' does not exist"),
        ({"path": "adapter"}, "it is an adapter; name the model that it was made from"),
        ("bare", "has no *.safetensors: save the model with safetensors"),
        ("mute", "has no tokenizer"),
        ("packed", "packed is quantised (gptq)"),
    ],
)
def test_a_local_checkpoint_that_will_not_do_is_refused_before_any_job(home, source, text):  # noqa: F811
    (home / "adapter").mkdir()
    (home / "adapter/adapter_config.json").write_text("{}")
    (write_folder(home / "bare", OWN) / "model.safetensors").unlink()
    (write_folder(home / "mute", OWN) / "tokenizer.json").unlink()
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}
    (write_folder(home / "packed", OWN) / "config.json").write_text(json.dumps(config))
    assert text in refusal(home, {"model": source, "base": "base"})


def test_a_checkpoint_without_a_template_needs_one_where_it_is_asked_through_one(home):  # noqa: F811
    write_folder(home / "sft", {})
    model = {"path": "base", "template": "chatml"}
    mine = {"model": "sft", "base": "base"}
    text = refusal(home, mine, EXACT, model=model)
    assert text.startswith("candidates.mine.template: ")
    assert "benchmarks.b need one" in text
    planned(home, {"b": PLAIN}, model=model, candidates={"mine": mine})
    named = mine | {"template": "chatml"}
    graph = planned(home, {"b": EXACT}, model=model, candidates={"mine": named})
    specs = [one.spec for one in graph.artifacts.values() if one.stage == "scores"]
    assert {spec["template"] for spec in specs} == {"chatml"}


def test_a_checkpoint_of_the_hub_is_looked_at_when_it_is_here(home):  # noqa: F811
    mine = {"model": {k: v for k, v in HUB.items()}, "base": "base"}
    model = {"path": "base", "template": "chatml"}
    graph = planned(home, {"b": EXACT}, model=model, candidates={"mine": mine})
    (gate,) = gates_of(graph, "chat_template")
    assert gate.limit == "candidates.mine.template"
    (gate,) = gates_of(graph, "quantised")
    with pytest.raises(GateError, match=r"candidates\.mine\.model: .* is quantised \(awq\)"):
        check_gate(gate.kind, gate.artifact, {"quantised": "awq"}, gate.limit)
    check_gate(gate.kind, gate.artifact, {"quantised": None}, gate.limit)


def test_a_base_of_a_checkpoint_is_asked_even_where_it_judges(home):  # noqa: F811
    write_folder(home / "sft", OWN)
    judged = {"kind": "judged_pairs", "path": "q.jsonl", "judge": {"model": "base"}}
    graph = planned(
        home,
        {"b": judged},
        model={"path": "base", "template": "chatml"},
        candidates={"mine": {"model": "sft", "base": "base"}},
    )
    assert [candidate.name for candidate in graph.candidates] == ["base", "mine"]
    assert graph.candidates[-1].judgements


def test_runs_and_checkpoints_stand_side_by_side(home):  # noqa: F811
    write_folder(home / "sft", OWN)
    mine = {"model": "sft", "base": "base"}
    graph = planned(
        home, {"b": PLAIN}, runs={"r": RUN | {"template": "chatml"}}, candidates={"mine": mine}
    )
    assert [c.kind for c in graph.candidates] == ["base", "run", "checkpoint"]


@pytest.fixture
def adapter(home):  # noqa: F811
    """The folder of an adapter for the base."""
    folder = home / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {"base_model.model.q_proj.lora_A.weight": np.zeros((4, 2), np.float32)}, folder / WEIGHTS
    )
    (home / "base/model.safetensors").unlink()
    save_file({"q_proj.weight": np.zeros((2, 2), np.float32)}, home / "base/model.safetensors")
    return folder


THEIRS = {"theirs": {"adapter": "adapter", "base": "base"}}
ONWARD = RUN | {"template": "chatml", "continue_from": "theirs"}


def test_a_run_on_several_datasets_goes_on_from_an_adapter_with_what_it_takes_of_each(
    home,  # noqa: F811
    adapter,
):
    datasets = {}
    for name in ("own", "general"):
        rows = [{"prompt": f"{name} {n}", "completion": f"{n}"} for n in range(9)]
        write_rows(home / f"{name}.jsonl", rows)
        datasets[name] = {"path": f"{name}.jsonl"}
    runs = {"r": ONWARD | {"dataset": {"own": 4, "general": 1}}}
    graph = planned(home, {"b": PLAIN}, runs=runs, candidates=THEIRS, datasets=datasets)
    (trained,) = [one for one in graph.artifacts.values() if one.stage == "adapters"]
    (start,) = trained.reads["start"]
    assert graph.artifacts[start].stage == "given_adapters"
    assert len(trained.reads["shards"]) == 2
    assert [one["share"] for one in trained.spec["mixture"]] in ([0.8, 0.2], [0.2, 0.8])
    # What it was trained on before is not known; what is known is searched, each dataset of it.
    run = next(one for one in graph.candidates if one.name == "r")
    (comparison,) = (one for one in graph.artifacts.values() if one.stage == "comparisons")
    (told,) = (one for one in comparison.spec["candidates"] if one["name"] == "r")
    assert not told["data_known"]
    assert len(told["searches"]["b"]) == len(run.made_in("chat")) == 2
    (part,) = graph.artifacts[run.artifacts["merged"]].spec["card"]["parts"]
    assert (part["mixture"], "start" in part) == (trained.spec["mixture"], True)


def test_a_run_that_goes_on_from_an_adapter_says_no_other_shape_and_names_another_template(
    home,  # noqa: F811
    adapter,
):
    run = ONWARD

    def problem(lora=None, **more):
        runs = {"r": run | more | ({"lora": lora} if lora else {})}
        with pytest.raises(ConfigError) as error:
            planned(home, {"b": PLAIN}, runs=runs, candidates=THEIRS)
        return str(error.value)

    graph = planned(home, {"b": PLAIN}, runs={"r": run | {"lora": {"alpha": 8}}}, candidates=THEIRS)
    (trained,) = [one for one in graph.artifacts.values() if one.stage == "adapters"]
    assert (trained.spec["lora"], trained.execution["lora"]) == ({}, {"alpha": 8})
    assert problem({"r": 8}).startswith(
        "runs.r.lora.r is 8, and the adapter that the run goes on from"
    )
    assert "runs.r.lora.init is of no use" in problem({"init": "pissa"})
    (adapter / "chat_template.jinja").write_text("{{ other }}")
    (home / "base/chat_template.jinja").write_text(TEXT)
    text = problem(template="tokenizer")
    assert text.startswith("runs.r.template: the adapter in ")
    assert text.endswith("adapter/chat_template.jinja")

"""What a job would refuse for the configuration's or a local file's sake is refused by planning."""

import dataclasses
import json
import re

import pytest

from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.errors import ConfigError, RecordError
from scripts.lib.jobs.remarks import idle_gpus, untrainable
from scripts.lib.plan.remembered import CheckMemory
from scripts.lib.train.lora_faults import sharing_fault
from tests.unit.plan.test_base_templates import (
    DOMAIN,
    HUB,
    PLAIN,
    RUN,
    home,  # noqa: F401  a fixture
    planned,
)
from tests.unit.scoring_data import write_rows

FOUR = {"question": "Which?", "choices": ["1", "2", "3", "4"], "answer": 1}
CHOICES = {"kind": "mmlu", "path": "mmlu", "shots": 0}


def refusal(*args, **options) -> str:
    with pytest.raises(ConfigError) as error:
        planned(*args, **options)
    return str(error.value)


def test_subjects_that_no_category_map_holds_are_refused_with_another_kind(home):  # noqa: F811
    for subject in ("anatomy", "botany"):
        write_rows(home / f"mmlu/test/{subject}.jsonl", [FOUR])
    text = refusal(home, {"b": CHOICES})
    assert text.startswith("benchmarks.b: subjects: botany: none of MMLU's 57")
    assert "`kind: multiple_choice`" in text
    planned(home, {"b": CHOICES | {"subjects": ["anatomy"]}})
    assert "has no chemistry; it has anatomy, botany" in refusal(
        home, {"b": CHOICES | {"subjects": ["chemistry"]}}
    )


@pytest.mark.parametrize("on_bad_row", ["error", "leave_out"])
def test_an_expected_answer_that_the_metric_cannot_compare_is_refused(home, on_bad_row):  # noqa: F811
    rows = [{"prompt": "How many?", "answer": "1,200 or so"}, {"prompt": "Who?", "answer": "she"}]
    write_rows(home / "q.jsonl", rows)
    asked = PLAIN | {"on_bad_row": on_bad_row}
    planned(home, {"b": asked})
    text = refusal(home, {"b": asked | {"metric": "numeric"}})
    assert "q.jsonl:2 has no number in `answer` ('she')" in text
    assert "choose another metric" in text


@pytest.mark.parametrize("on_bad_row", ["error", "leave_out"])
def test_only_rows_that_are_asked_need_a_number(home, on_bad_row):  # noqa: F811
    bad = [{"prompt": "How many?"}] if on_bad_row == "leave_out" else []
    rows = [{"prompt": "How many?", "answer": "2"}, {"prompt": "Who?", "answer": "she"}]
    write_rows(home / "q.jsonl", [*bad, *rows])
    asked = PLAIN | {"on_bad_row": on_bad_row, "metric": "numeric"}
    checks = CheckMemory()
    planned(home, {"b": asked | {"limit": 1}}, checks=checks)
    for more in ({"limit": 2}, {}):
        text = refusal(home, {"b": asked | more}, checks=checks)
        assert f"q.jsonl:{len(bad) + 2} has no number in `answer` ('she')" in text


@pytest.mark.parametrize("merge", [True, False])
def test_a_merge_into_a_quantised_local_model_is_refused(home, merge):  # noqa: F811
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}
    (home / "base/config.json").write_text(json.dumps(config))
    model = {"path": "base", "template": "chatml"}
    runs = {"r": RUN | {"merge": merge}}
    if not merge:
        planned(home, {"b": PLAIN}, model=model, runs=runs)
        return
    text = refusal(home, {"b": PLAIN}, model=model, runs=runs)
    assert text.startswith("runs.r.merge: models.base is quantised (gptq)")
    assert text.endswith("write merge: false")
    text = refusal(home, {"b": PLAIN}, model=model, runs={"r": RUN | {"lora": None}})
    assert text.startswith("runs.r.lora: models.base is quantised (gptq)")


ROWS = {
    "no turn is an answer": [{"messages": [{"role": "user", "content": f"{n}"}]} for n in range(3)],
    "an answer is empty": [{"prompt": f"{n}", "completion": " "} for n in range(3)],
    "roles do not alternate": [
        {"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}
    ],
    "no column is known": [{"question": "a", "reply": "b"}],
    "no line is JSON": None,
}


@pytest.mark.parametrize("name", ROWS)
def test_a_dataset_without_a_row_to_train_on_is_refused_in_the_words_of_the_job(home, name):  # noqa: F811
    if ROWS[name] is None:
        (home / "train.jsonl").write_text('{"prompt": "a", "completion": "b"\n{"prompt"}\n')
    else:
        write_rows(home / "train.jsonl", ROWS[name])
    text = refusal(home, {"b": PLAIN}, runs={"r": RUN}, model=HUB)
    assert text.startswith("datasets.orders: ")
    (home / "raw").mkdir()
    (home / "out").mkdir()
    (home / "train.jsonl").rename(home / "raw/train.jsonl")
    spec = FormatSpec(
        format="auto", system=None, valid_fraction=0.05, test_fraction=0.1, split_seed=0, limit=None
    )
    with pytest.raises(RecordError) as error:
        format_chat(spec, home / "raw", home / "out")
    assert text.partition("train.jsonl: ")[2] == str(error.value).partition("raw: ")[2]


def test_a_broken_line_above_rows_that_will_do_is_for_the_gate_to_judge(home):  # noqa: F811
    whole = (home / "train.jsonl").read_text()
    (home / "train.jsonl").write_text('{"prompt": "a", \n' + whole)
    planned(home, {"b": PLAIN}, runs={"r": RUN}, model=HUB)


@pytest.mark.parametrize("name", ROWS)
def test_a_dataset_that_nothing_reads_need_not_have_a_row_to_train_on(home, name):  # noqa: F811
    if ROWS[name] is None:
        (home / "train.jsonl").write_text('{"prompt": "a", "completion": "b"\n{"prompt"}\n')
    else:
        write_rows(home / "train.jsonl", ROWS[name])
    planned(home, {"b": PLAIN}, model=HUB)
    # Whoever asks what it holds out has it formatted, which takes a row to train on, too.
    for options in ({"runs": {"r": RUN}}, {}):
        text = refusal(home, {"d": DOMAIN}, model=HUB, **options)
        assert text.startswith("datasets.orders: ")
    (home / "train.jsonl").write_text("")
    assert "train.jsonl is empty" in refusal(home, {"b": PLAIN}, model=HUB)
    (home / "train.jsonl").unlink()
    assert "does not exist" in refusal(home, {"b": PLAIN}, model=HUB)


def test_a_split_that_stays_empty_is_refused_where_something_needs_it(home):  # noqa: F811
    write_rows(home / "train.jsonl", [{"prompt": "a", "completion": "b"}])
    planned(home, {"b": PLAIN}, runs={"r": RUN}, model=HUB)
    for watching in ({"early_stopping_patience": 2}, {"scheduler": "reduce_lr_on_plateau"}):
        text = refusal(home, {"b": PLAIN}, runs={"r": RUN | {"training": watching}}, model=HUB)
        assert "none of 1 rows is held out as valid; there is but one conversation" in text
    text = refusal(home, {"d": DOMAIN}, model=HUB)
    assert "none of 1 rows is held out as test; there is but one conversation" in text
    judged = {"kind": "judged_pairs", "dataset": "orders", "judge": {"model": "base"}}
    assert "held out as test" in refusal(home, {"j": judged}, runs={"r": RUN}, model=HUB)


class Planned:
    """What remarks ask of a plan."""

    def __init__(self, graph):
        self.graph = graph
        self.missing = set(graph.artifacts)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"gpu": 0}, None),
        ({"gpu": 4}, None),
        ({"gpu": 1, "micro_batch": 2}, None),
        ({"gpu": 3}, "batch_size 8 is not a multiple of micro_batch 1 x 3 .*; write 6 or 9"),
        ({"gpu": 4, "micro_batch": 4}, "micro_batch 4 x 4 .*; write 16"),
        ({"gpu": 1, "tasks": 16}, "micro_batch 1 x 16 .*; write 16"),
        ({"gpu": 8, "tasks": 2, "nodes": 2}, None),
        ({"gpu": 4, "nodes": 3}, "4 process.* cannot be shared out evenly to nodes=3"),
    ],
)
def test_a_batch_that_the_gpus_cannot_share_ends_it_before_any_job(home, resources, words):  # noqa: F811
    graph = planned(home, {"b": PLAIN}, runs={"r": RUN}, model=HUB)
    (adapter,) = (id for id, one in graph.artifacts.items() if one.stage == "adapters")
    said = untrainable(Planned(graph), {adapter: resources})
    if words is None:
        assert said == []
        return
    (line,) = said
    assert line.startswith("runs.r: ")
    assert re.search(words, line)


def test_a_quantised_base_that_is_to_be_shared_out_is_refused_before_any_job():
    assert "quantization: null" in sharing_fault("nf4", 1)
    assert sharing_fault("nf4", 0) is sharing_fault(None, 1) is None


def test_a_tracker_that_is_not_installed_is_asked_for_before_any_job(home, monkeypatch):  # noqa: F811
    monkeypatch.setattr("scripts.lib.train.trackers.find_spec", lambda name: None)
    graph = planned(home, {"b": PLAIN}, runs={"r": RUN}, model=HUB)
    (adapter,) = (id for id, one in graph.artifacts.items() if one.stage == "adapters")
    told = {"tracking": {"report_to": ["wandb"], "project": "p", "folder": "f", "run": "r"}}
    graph.artifacts[adapter] = dataclasses.replace(graph.artifacts[adapter], execution=told)
    (line,) = untrainable(Planned(graph), {adapter: {"gpu": 1}})
    assert line.startswith("runs.r: tracking.report_to names wandb") and "make trackers" in line


def test_a_package_that_a_training_lacks_is_asked_for_before_any_job(home, monkeypatch):  # noqa: F811
    monkeypatch.setattr("scripts.lib.train.lora_faults.find_spec", lambda name: None)
    run = RUN | {"quantization": "nf4"}
    graph = planned(home, {"b": PLAIN}, runs={"r": run}, model=HUB)
    (adapter,) = (id for id, one in graph.artifacts.items() if one.stage == "adapters")
    (line,) = untrainable(Planned(graph), {adapter: {"gpu": 1}})
    assert line.startswith("runs.r: quantization: nf4 needs the package bitsandbytes")


def test_an_optimizer_whose_package_is_missing_is_refused_before_any_job(home, monkeypatch):  # noqa: F811
    monkeypatch.setattr("scripts.lib.train.optimization.find_spec", lambda name: None)
    run = RUN | {"training": {"optim": "adamw_8bit"}}
    graph = planned(home, {"b": PLAIN}, runs={"r": run}, model=HUB)
    (adapter,) = (id for id, one in graph.artifacts.items() if one.stage == "adapters")
    (line,) = untrainable(Planned(graph), {adapter: {"gpu": 1}})
    assert line.startswith("runs.r: optim: adamw_8bit needs the package bitsandbytes")


JUDGED = {"kind": "judged_pairs", "path": "prompts.jsonl", "judge": {"model": "base"}}


@pytest.mark.parametrize(
    ("rule", "gpus", "words"),
    [
        (
            "score_benchmark",
            2,
            r"gpu=2, .*\(benchmarks b, j\).*jobs_per_benchmark=2.*backend: vllm",
        ),
        ("score_benchmark", "4", r"gpu=4, .*one GPU"),
        ("judge_pairs", 2, r"gpu=2, .*a local judge computes on one GPU"),
        ("score_benchmark", 1, None),
        ("score_benchmark", 0, None),
        ("score_benchmark", "2 * attempt", None),  # has no number before the job
        ("judge_pairs", 1, None),
    ],
)
def test_gpus_that_scoring_would_leave_idle_end_it_before_any_job(home, rule, gpus, words):  # noqa: F811
    (home / "prompts.jsonl").write_text('{"prompt": "a"}\n')
    plan = Planned(planned(home, {"b": PLAIN, "j": JUDGED}, runs={"r": RUN}, model=HUB))
    said = idle_gpus(plan, {rule: {"gpu": gpus}})
    if words is None:
        assert said == []
        return
    (line,) = said
    assert line.startswith(f"{rule}: ")
    assert re.search(words, line)
    # What is there already needs no job.
    plan.missing = set()
    assert idle_gpus(plan, {rule: {"gpu": gpus}}) == []


def test_vllm_may_have_several_gpus(home):  # noqa: F811
    plan = Planned(planned(home, {"b": PLAIN}, model=HUB))
    for id, one in plan.graph.artifacts.items():
        if one.stage == "scores":
            spec = {**one.spec, "backend": "vllm==1.2.3"}
            plan.graph.artifacts[id] = dataclasses.replace(one, spec=spec)
    assert idle_gpus(plan, {"score_benchmark": {"gpu": 4}}) == []

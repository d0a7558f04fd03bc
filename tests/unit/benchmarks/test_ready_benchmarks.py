"""Each entry in config/benchmarks/ is planned, fetched without a network, scored and summed up.

The rows are made by tests/benchmark_rows.py in the datasets' columns, or here; the model is tiny
and random.
"""

import functools
import json
import re
import shutil
from collections import Counter
from contextlib import chdir
from pathlib import Path

import pytest

from scripts.lib.benchmarks import kinds
from scripts.lib.benchmarks.judged_pairs.scores import sum_up_judgements
from scripts.lib.benchmarks.lm_eval import resolve
from scripts.lib.benchmarks.lm_eval.rows import Source
from scripts.lib.benchmarks.lm_eval.tasks import described
from scripts.lib.config.load import load_config, read_config_file
from scripts.lib.errors import GateError
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.jobs.checks import check_gate
from scripts.lib.judge.files import load_pairs, write_judgements
from scripts.lib.judge.local import JudgeSpec, judge_locally
from scripts.lib.plan import invocation
from scripts.lib.questions.categories import CATEGORY_MAPS
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.score.scoring import Part, score_benchmark, write_provenance
from scripts.tools import benchmark_rows
from tests.benchmark_rows import write_rows
from tests.dataset_hub import dataset_files, fetch_from_hub
from tests.punkt import make_punkt
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import score

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "config/benchmarks"
ENTRIES = {path.stem: read_config_file(path)["benchmarks"] for path in FOLDER.glob("*.yaml")}
PAGE = ROOT / "docs/benchmarks.md"

# Dozens of tasks, or answers of a thousand tokens from each of several.
LONG = {"bbh", "haerae", "jmmlu", "kmmlu", "kobest", "kormedmcqa", "humaneval_instruct", "math"}


def of_kind(kind):
    return {
        name: settings
        for benchmarks in ENTRIES.values()
        for name, settings in benchmarks.items()
        if settings["kind"] == kind
    }


ASKED = of_kind("lm_eval")


def listed(value):
    return [value] if isinstance(value, str) else list(value or ())


@pytest.fixture(scope="module", autouse=True)
def one_index():
    """Reads the names of lm-eval's tasks once, not for every benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve, "NameIndex", functools.cache(resolve.NameIndex))
        yield


@pytest.fixture(scope="module")
def leaves():
    """Benchmark -> the tasks that it asks."""
    found, problems = {}, []
    for name, settings in ASKED.items():
        files = [ROOT / path for path in listed(settings.get("path"))]
        own = FOLDER / "tasks"
        found[name] = resolve.find_leaves(listed(settings.get("tasks")), files, own, problems)
    assert not problems
    return found


@pytest.fixture(scope="module")
def configs(leaves):
    """Benchmark -> the configs of its tasks."""
    return {
        name: [described(leaf, FOLDER / "tasks") for leaf in found]
        for name, found in leaves.items()
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory, configs):
    """A working directory with a model, rows of every dataset, and prompts for pairs."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_model(folder / "model")
    # Prompts of several few-shot examples are long in a model that reads bytes.
    for file, key in (
        ("config.json", "max_position_embeddings"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        path = folder / "model" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: 16384}))
    for name in {name for found in configs.values() for name in map(dataset, found)}:
        write_rows(folder / "rows", *name)
    (folder / "data").mkdir()
    published = [{"instruction": f"Say {word}.", "dataset": "made"} for word in ("hi", "yes")]
    (folder / "alpaca_eval.json").write_text(json.dumps(published))
    benchmark_rows.alpaca_eval(folder / "alpaca_eval.json", folder / "data/alpaca_eval.jsonl")
    return folder


def dataset(config):
    source = Source.of(config)
    return source.path, source.name


def with_own(name, **changes):
    """Return an entry as a user completes it with a file of their own."""
    mine = {"mmlu": {"revision": "0" * 40}, "alpaca_eval": {"judge": {"model": "tiny"}}}
    own = {"models": {"tiny": {"path": "model"}}}
    benchmarks = {key: {**value, **mine.get(key, {})} for key, value in ENTRIES[name].items()}
    for key in changes.pop("of", benchmarks):
        benchmarks[key] |= changes
    return {**own, "benchmarks": benchmarks}


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_an_entry_is_a_config_once_what_it_leaves_open_is_filled_in(name):
    assert set(ENTRIES[name]) <= {name, f"{name}_mc1", f"{name}_mc2"}
    load_config(with_own(name))


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_an_entry_is_planned_without_a_network(name, world):
    changes = {"of": [key for key in ENTRIES[name] if key in ASKED], "data": "rows"}
    with chdir(world):
        graph = invocation.graph_of(with_own(name, **changes), ROOT)
    (candidate,) = graph.candidates
    assert graph.report in graph.artifacts
    assert all(candidate.scores.values())


def marked(name):
    return pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])


@pytest.mark.parametrize("benchmark", [marked(name) for name in sorted(ASKED)])
def test_an_entry_is_fetched_scored_and_summed_up(benchmark, world, configs, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(make_punkt(tmp_path / "nltk"))])
    entry = next(name for name, found in ENTRIES.items() if benchmark in found)
    with chdir(world):
        graph = invocation.graph_of(with_own(entry, data="rows", limit=1), ROOT)
    (candidate,) = graph.candidates
    scored = [graph.artifacts[id] for id in candidate.scores[benchmark]]
    summed = graph.artifacts[candidate.categories[benchmark]]
    fetched = graph.artifacts[scored[0].reads["benchmark"][0]]
    questions, sums = tmp_path / "questions", tmp_path / "sums"
    questions.mkdir()
    sums.mkdir()

    facts = fetch_benchmark(fetched.spec, [world / source for source in fetched.sources], questions)
    assert bool(facts["unsafe_code"]) == ENTRIES[entry][benchmark].get("run_generated_code", False)
    for gate in (*scored[0].gates, *summed.gates):
        check_gate(gate.kind, gate.artifact, facts, gate.limit)
    parts = [
        Part(ScoreSpec.from_json(one.spec), tmp_path / str(number), tmp_path / "scratch")
        for number, one in enumerate(scored)
    ]
    for part in parts:
        part.out.mkdir()
    found = list(score_benchmark(parts, world / "model", questions, batch_size=4))
    for part in parts:
        write_provenance({"model": "", "benchmark": ""}, {}, part.out)
    assert sum(facts["n"] for facts in found) == len(configs[benchmark])
    tallies = aggregate(summed.spec, [part.out for part in parts], sums)
    assert tallies["Average"]["n"] == len(configs[benchmark])
    assert 0 <= tallies["Average"]["accuracy"] <= 1


def aggregate(spec, scores, out):
    """Sum up as the program does."""
    module = kinds.load("aggregate_scores", spec["kind"])
    return module.aggregate(spec, {"scores": tuple(scores)}, out)


def mmlu_files():
    """Return one question and five solved ones of every subject, as cais/mmlu has them."""

    def row(subject, number):
        choices = [str(number + place) for place in range(4)]
        question = f"{subject}: how much is {number}?"
        return {"question": question, "subject": subject, "choices": choices, "answer": 0}

    subjects = CATEGORY_MAPS["hendrycks"]
    test = [row(subject, 9) for subject in subjects]
    dev = [row(subject, number) for subject in subjects for number in range(5)]
    return dataset_files("all", {"test": test, "dev": dev})


def test_mmlu_is_fetched_from_the_hub_scored_and_summed_up(world, tmp_path):
    with chdir(world):
        graph = invocation.graph_of(with_own("mmlu"), ROOT)
    (candidate,) = graph.candidates
    scored = [graph.artifacts[id] for id in candidate.scores["mmlu"]]
    fetched = graph.artifacts[scored[0].reads["benchmark"][0]]
    hub = {"cais/mmlu": {"0" * 40: mmlu_files()}}
    said = fetch_from_hub(hub, tmp_path / "home", {str(tmp_path / "questions"): fetched.spec})
    assert said == ["fetched"]

    folders = [tmp_path / str(number) for number in range(len(scored))]
    for folder, job in zip(folders, scored, strict=True):
        score(ScoreSpec.from_json(job.spec), world / "model", tmp_path / "questions", folder)
    summed = graph.artifacts[candidate.categories["mmlu"]].spec
    (tmp_path / "sums").mkdir()
    outs = [folder / "out" for folder in folders]
    tallies = aggregate(summed, outs, tmp_path / "sums")
    map_ = CATEGORY_MAPS["hendrycks"]
    assert {name: tally["n"] for name, tally in tallies.items()} == {
        **Counter(map_.values()),
        "Average": len(map_),
    }


def test_alpaca_eval_is_answered_judged_and_counted(world, tmp_path):
    chats = (
        {"messages": [{"role": role, "content": f"{n}!"} for role in ("user", "assistant")]}
        for n in range(8)
    )
    (world / "data/say.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    tiny = read_config_file(ROOT / "tests/config/tiny.yaml")
    tuned = {"datasets": tiny["datasets"], "runs": {"low": tiny["runs"]["low"]}}
    with chdir(world):
        graph = invocation.graph_of(with_own("alpaca_eval") | tuned, ROOT)
    (judged,) = (made for made in graph.artifacts.values() if made.stage == "judgements")
    asked = {side: graph.artifacts[judged.reads[side][0]] for side in ("base", "run", "benchmark")}
    questions, judgements = tmp_path / "questions", tmp_path / "judgements"
    questions.mkdir()
    judgements.mkdir()
    sources = [world / source for source in asked["benchmark"].sources]
    fetch_benchmark(asked["benchmark"].spec, sources, questions)

    # What training and merging would have made of the base: another model of its form.
    other = make_tiny_model(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", shutil.copytree(world / "model", tmp_path / "run"))
    for side, model in (("base", world / "model"), ("run", tmp_path / "run")):
        score(ScoreSpec.from_json(asked[side].spec), model, questions, tmp_path / side / "s")
    base, run = (tmp_path / side / "s/out" for side in ("base", "run"))
    pairs = load_pairs(base, run, questions)
    spec = JudgeSpec(**judged.spec)
    replies = judge_locally(spec, pairs, world / "model", batch_size=4, scratch=tmp_path)
    write_judgements(pairs, replies, {"kind": "local"}, base, run, judgements)
    figures = sum_up_judgements("alpaca_eval", judgements, tmp_path)
    assert figures["n"] == 2
    assert figures["wins"] + figures["losses"] + figures["ties"] == 2
    assert 0 <= figures["win_rate"] <= 1


@pytest.mark.parametrize("name", ["humaneval", "humaneval_instruct"])
def test_generated_code_is_run_only_where_the_config_says_so(name, world):
    changes = {"data": "rows", "run_generated_code": False}
    with chdir(world):
        graph = invocation.graph_of(with_own(name, **changes), ROOT)
    (id,) = graph.candidates[0].scores[name]
    (gate,) = [gate for gate in graph.artifacts[id].gates if gate.kind == "unsafe_code"]
    with pytest.raises(GateError, match="run_generated_code"):
        check_gate(gate.kind, gate.artifact, {"unsafe_code": [name]}, gate.limit)


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_no_commit_is_made_up(name):
    """A hash in an entry would be believed; only a person can look it up."""
    assert not re.search(r"\b[0-9a-f]{40}\b", (FOLDER / f"{name}.yaml").read_text())


def test_a_file_of_one_s_own_changes_what_an_entry_says(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("models: {m: {path: model}}\nbenchmarks: {gsm8k: {limit: 50, shots: 8}}\n")
    merged = invocation.merge_configs([FOLDER / "gsm8k.yaml", mine])
    settings = load_config(merged).benchmarks["gsm8k"]
    assert (settings.limit, settings.shots, settings.tasks) == (50, 8, ("gsm8k",))


def rows_of_page():
    """Return entry -> cells of its row in the page's table."""
    lines = re.findall(r"^\| \[(\w+)\]\(\.\./config/benchmarks/(\w+)\.yaml\) \|(.*)\|$", *page())
    assert all(shown == file for shown, file, _ in lines)
    return {file: [cell.strip() for cell in rest.split("|")] for _, file, rest in lines}


def page():
    return PAGE.read_text(encoding="utf-8"), re.MULTILINE


def test_the_page_lists_every_entry():
    assert list(rows_of_page()) == sorted(ENTRIES, key=list(rows_of_page()).index)
    assert set(rows_of_page()) == set(ENTRIES)


@pytest.mark.parametrize("benchmark", sorted(ASKED))
def test_the_page_tells_what_is_asked(benchmark, configs, leaves):
    entry = next(name for name, found in ENTRIES.items() if benchmark in found)
    settings = ASKED[benchmark]
    _, tasks, shots, metric, datasets, *_ = rows_of_page()[entry]
    for name in listed(settings.get("tasks")) + listed(settings.get("path")):
        assert f"`{name}`" in tasks
    if len(leaves[benchmark]) > 1:
        assert f"({len(leaves[benchmark])} tasks)" in tasks
    found = [settings.get("shots", config.num_fewshot or 0) for config in configs[benchmark]]
    assert shots == ", ".join(map(str, dict.fromkeys(found)))
    if "metric" in settings:
        assert f"`{settings['metric']}`" in metric
    for name in {path for path, _ in map(dataset, configs[benchmark])}:
        assert name in datasets


def test_the_page_tells_what_else_is_asked():
    for kind in ("mmlu", "judged_pairs"):
        for benchmark, settings in of_kind(kind).items():
            row = rows_of_page()[benchmark]
            assert f"kind `{kind}`" in row[1]
            assert str(settings.get("shots", "-")) == row[2]

"""What bench_dag measures in: folders with a config of many runs, empty or full, and a plain twin.

Nothing here trains: the models are a few bytes, and every artifact is small files with the
manifest that its job would have written.
"""

import json
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml

from scripts.lib import files
from scripts.lib.artifacts.batches import DEFAULT, batches_of
from scripts.lib.artifacts.graph import Artifact, Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Store
from scripts.lib.plan import invocation
from scripts.lib.questions.categories import CATEGORY_MAPS
from scripts.lib.score.files import PROTOCOL_FILE, PROVENANCE_FILE, QUESTIONS_TABLE

ROOT = Path(__file__).resolve().parent.parent.parent
MODELS = ("north", "south")
DATASETS = ("orders", "letters")
SUBJECTS = ("astronomy", "college_physics")
RATES = 25
"""Learning rates of a sweep; its seeds make up the number of runs."""


def config_of(runs: int) -> dict[str, Any]:
    """Return a config of *runs* runs: a sweep for every model and dataset.

    Args:
        runs: A multiple of 100.
    """
    sweep = {
        "training.learning_rate": [round(1e-4 + 1e-6 * step, 6) for step in range(RATES)],
        "training.seed": list(range(runs // (len(MODELS) * len(DATASETS) * RATES))),
    }
    return {
        "models": {model: {"path": f"data/{model}"} for model in MODELS},
        "datasets": {dataset: {"path": f"data/{dataset}.jsonl"} for dataset in DATASETS},
        "runs": {
            f"{model}-{dataset}": {"model": model, "dataset": dataset, "sweep": sweep}
            for model in MODELS
            for dataset in DATASETS
        },
        "benchmarks": {"mmlu": {"kind": "mmlu", "path": "data/mmlu", "shots": 1}},
    }


def subjects_config() -> dict[str, Any]:
    """Return a config of 20 candidates that are asked all of MMLU's subjects in four protocols."""
    seeds = {"training.seed": list(range(19))}
    return {
        "models": {"north": {"path": "data/north"}},
        "datasets": {"orders": {"path": "data/orders.jsonl"}},
        "runs": {"north-orders": {"model": "north", "dataset": "orders", "sweep": seeds}},
        "benchmarks": {
            f"{shots}-shots{'-chat' if chat else ''}": {
                **{"kind": "mmlu", "path": "data/mmlu", "shots": shots, "chat_template": chat},
            }
            for shots in (0, 1)
            for chat in (False, True)
        },
    }


def make_subjects_world(folder: Path) -> Graph:
    """Fill *folder* with the config of many subjects and its files; return its graph."""
    return _make_world(folder, subjects_config(), tuple(CATEGORY_MAPS["hendrycks"]))


def make_world(folder: Path, runs: int) -> Graph:
    """Fill *folder* with a config of *runs* runs and the files it names; return its graph."""
    return _make_world(folder, config_of(runs), SUBJECTS)


def jobs_of(graph: Graph) -> int:
    """Return how many jobs make all of *graph*, the one for the target included."""
    alone = [id for id, one in graph.artifacts.items() if not STAGES[one.stage].batched_by]
    return len(alone) + len(batches_of(graph, graph.artifacts, DEFAULT)) + 1


def _make_world(folder: Path, config: dict[str, Any], subjects: Sequence[str]) -> Graph:
    for model in MODELS:
        texts = {
            "config.json": '{"model_type": "llama"}',
            "model.safetensors": model,
            "tokenizer.json": "{}",
            "chat_template.jinja": "{{ messages }}",
        }
        for name, text in texts.items():
            files.write_text(folder / "data" / model / name, text)
    for dataset in DATASETS:
        files.write_text(
            folder / f"data/{dataset}.jsonl",
            json.dumps({"prompt": dataset, "completion": "x"}) + "\n",
        )
    for split in ("dev", "test"):
        for subject in subjects:
            question = {"question": f"{split} {subject}", "choices": list("abcd"), "answer": 0}
            files.write_text(
                folder / f"data/mmlu/{split}/{subject}.jsonl", json.dumps(question) + "\n"
            )
    files.write_text(folder / "config/config.yaml", yaml.safe_dump(config, sort_keys=False))
    with chdir(folder):
        return invocation.graph_of(config, ROOT)


FILES = {"scores": (PROTOCOL_FILE, PROVENANCE_FILE, QUESTIONS_TABLE)}
"""Stage -> the files of an artifact, where their number counts."""


def make_everything(graph: Graph, folder: Path) -> None:
    """Put every artifact of *graph* into results/: small files, and its manifest."""
    store = Store(folder / invocation.RESULTS)
    contents: dict[str, str] = {}
    for id, artifact in graph.artifacts.items():
        manifest = _make(store, id, artifact, contents)
        contents[id] = manifest["content"]


def _make(store: Store, id: str, artifact: Artifact, contents: dict[str, str]) -> dict[str, Any]:
    """Make one artifact of inputs with known *contents* and return its manifest."""
    made = store.results / id
    for name in FILES.get(artifact.stage, ("made.txt",)):
        files.write_text(made / name, id)
    listed = files.list_files(made)
    inputs = {edge: [contents[source] for source in ids] for edge, ids in artifact.data.items()}
    manifest = {
        "id": id,
        "stage": artifact.stage,
        "slug": artifact.slug,
        "key": artifact.key,
        "content_key": artifact.key_with(inputs),
        "spec": artifact.spec,
        "code": artifact.code,
        "pins": artifact.pins,
        "inputs": {
            edge: [{"id": source, "content": contents[source]} for source in ids]
            for edge, ids in artifact.data.items()
        },
        "files": [entry._asdict() for entry in listed],
        "content": files.content_of(listed),
        "facts": {},
        "execution": {},
    }
    files.write_json(store.results / f"{id}.json", manifest)
    store.index(manifest)
    return manifest


FLOOR = """
MODELS = {models!r}
DATASETS = {datasets!r}
BASES = [f"base_{{m}}" for m in MODELS]
SHARDS = [f"{{m}}_{{d}}" for m in MODELS for d in DATASETS]
RUNS = [f"{{m}}_{{d}}_{{p}}" for m in MODELS for d in DATASETS for p in range({points})]


wildcard_constraints:
    m="[a-z]+",
    d="[a-z]+",
    p="[0-9]+",


rule all:
    input:
        "results/reports/all.json",
"""

RULES: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("fetch_model", "models", "{m}", {}),
    ("fetch_dataset", "raw", "{d}", {}),
    ("fetch_benchmark", "benchmarks", "mmlu", {}),
    ("format_chat", "chat", "{d}", {"raw": "{d}"}),
    ("render_shards", "shards", "{m}_{d}", {"chat": "{d}", "models": "{m}"}),
    (
        *("show_examples", "examples", "{m}_{d}"),
        {"raw": "{d}", "chat": "{d}", "shards": "{m}_{d}"},
    ),
    ("train_adapter", "adapters", "{m}_{d}_{p}", {"models": "{m}", "shards": "{m}_{d}"}),
    ("merge_adapter", "merged", "{m}_{d}_{p}", {"models": "{m}", "adapters": "{m}_{d}_{p}"}),
    (
        *("prove_merge", "proofs", "{m}_{d}_{p}"),
        {"models": "{m}", "adapters": "{m}_{d}_{p}", "merged": "{m}_{d}_{p}"},
    ),
    ("score_base", "batches", "base_{m}", {"models": "{m}", "benchmarks": "mmlu"}),
    (
        *("score_run", "batches", "{m}_{d}_{p}"),
        {"merged": "{m}_{d}_{p}", "benchmarks": "mmlu", "proofs": "{m}_{d}_{p}"},
    ),
    ("aggregate_scores", "categories", "{name}", {"batches": "{name}"}),
    ("compare_runs", "comparisons", "all", {"categories": "BASES + RUNS"}),
    ("write_report", "reports", "all", {"comparisons": "all", "examples": "SHARDS"}),
)
"""Rule, stage, name and inputs (stage -> name) of the plain Snakefile."""


def write_floor(folder: Path, runs: int) -> Path:
    """Write the plain Snakefile for as many *runs* into *folder* and return it."""
    points = runs // (len(MODELS) * len(DATASETS))
    text = FLOOR.format(models=MODELS, datasets=DATASETS, points=points)
    path = folder / "Snakefile"
    files.write_text(path, text + "".join(_floor_rule(*rule) for rule in RULES))
    return path


def _floor_rule(rule: str, stage: str, name: str, inputs: dict[str, str]) -> str:
    """Return one rule of the plain Snakefile: the files of ours, and their order."""
    lines = [
        f'{edge}=expand("results/{edge}/{{name}}", name={source}),'
        if source[0].isupper()
        else f'{edge}="results/{edge}/{source}",'
        for edge, source in inputs.items()
    ]
    return f"""

rule {rule}:
    input:
        {(chr(10) + " " * 8).join(lines)}
    output:
        artifact=directory("results/{stage}/{name}"),
        manifest="results/{stage}/{name}.json",
    log:
        "logs/{rule}/{name}.log",
    shell:
        "python -m scripts.{rule} --artifact {{output.artifact}} --manifest {{output.manifest}}"
        " >{{log}} 2>&1"
"""

"""What Tunesmith makes of a config: every artifact with its spec, its edges and its gates.

This is the one place that knows both the config's words and the stages' specs. Nothing here runs
or looks at results.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from scripts.lib.categories import CATEGORY_MAPS, refinement
from scripts.lib.config import Config
from scripts.lib.config_benchmarks import Benchmark, ExactMatch, HubMmlu, LocalMmlu
from scripts.lib.config_runs import Run
from scripts.lib.config_sources import (
    Dataset,
    HubDataset,
    HubModel,
    LocalDataset,
    LocalGguf,
    LocalModel,
    LocalSplitDataset,
    Model,
    PackageGguf,
)
from scripts.lib.errors import ConfigError
from scripts.lib.graph import Candidate, Gate, Graph, slug_of_path, slugify
from scripts.lib.sources import LocalSources

SPLITS = ("train", "valid", "test")

ONE_JOB_QUESTIONS = 500
"""Up to so many questions a benchmark is scored in one job. Starting a job takes about ten seconds
of a CPU's time, as long as some ten to fifty five-shot questions on a small model."""


@dataclass(frozen=True)
class Place:
    """A fetched artifact and what later slugs and jobs need of it."""

    id: str
    slug: str
    subjects: tuple[str, ...] = ()
    in_one_job: bool = False


def build_graph(
    config: Config, sources: LocalSources, *, code: Mapping[str, str], lock: Mapping[str, str]
) -> Graph:
    """Return the graph of everything that *config* asks for.

    Args:
        config: The checked configuration, sweeps expanded.
        sources: The local files that it names.
        code: Rule -> digest of its program.
        lock: Library -> locked version.

    Raises:
        ConfigError: listing every local file that is missing or will not do.
    """
    graph = Graph(code, lock)
    problems: list[str] = []
    models = _each("models", config.models, problems, lambda m: _model(graph, sources, m))
    datasets = _each("datasets", config.datasets, problems, lambda d: _raw(graph, sources, d))
    benchmarks = _each(
        "benchmarks", config.benchmarks, problems, lambda b: _questions(graph, sources, b)
    )
    templates = _each("runs", config.runs, problems, lambda r: _template(sources, r.template))
    if problems:
        raise ConfigError("\n".join(problems))
    for name, model in models.items():
        graph.candidates.append(
            _score(graph, config, benchmarks, name=name, kind="base", base=None, model=model)
        )
    for name, run in config.runs.items():
        artifacts, merged = _tune(
            graph, config, run, templates[name], models[run.model], datasets[run.dataset]
        )
        graph.candidates.append(
            _score(
                graph,
                config,
                benchmarks,
                name=name,
                kind="run",
                base=run.model,
                model=merged,
                artifacts=artifacts,
                keep_merged=run.keep_merged,
            )
        )
    graph.report = _report(graph, config)
    return graph


def _each(group: str, entries: Mapping[str, Any], problems: list[str], make: Any) -> dict[str, Any]:
    """Apply *make* to every entry and collect what is wrong instead of stopping at the first."""
    result = {}
    for name, entry in entries.items():
        try:
            result[name] = make(entry)
        except ConfigError as error:
            problems.append(f"{group}.{name}: {error}")
    return result


def _model(graph: Graph, sources: LocalSources, model: Model) -> Place:
    """Add the artifact of one base model."""
    local: tuple[str, ...]
    if isinstance(model, HubModel):
        slug = slugify(model.hub.split("/")[-1])
        spec: dict[str, Any] = {
            "source": "hub",
            "hub": model.hub,
            "revision": model.revision,
            "trust_remote_code": model.trust_remote_code,
        }
        local = ()
    elif isinstance(model, LocalModel):
        folder = sources.locate(model.path)
        slug = slugify(folder.resolve().name)
        spec = {"source": "path", "files": sources.model_files(model.path)}
        local = tuple(str(folder / name) for name in spec["files"])
    elif isinstance(model, PackageGguf | LocalGguf):
        file = (
            sources.package_file(model.package, model.gguf)
            if isinstance(model, PackageGguf)
            else sources.locate(str(Path(model.path) / model.gguf))
        )
        slug = slugify(file.name.split(".")[0])
        spec = {"source": "gguf", "sha256": sources.sha256(file)}
        local = (str(file),)
    else:
        assert_never(model)
    return Place(graph.add("models", slug, spec, sources=local), slug)


def _raw(graph: Graph, sources: LocalSources, dataset: Dataset) -> Place:
    """Add the artifact of one raw dataset."""
    if isinstance(dataset, HubDataset):
        slug = slugify(dataset.hub.split("/")[-1] + (f"-{dataset.name}" if dataset.name else ""))
        splits = {split: getattr(dataset.splits, split) for split in SPLITS}
        spec = {
            "source": "hub",
            "hub": dataset.hub,
            "revision": dataset.revision,
            "name": dataset.name,
            "splits": {split: name for split, name in splits.items() if name},
        }
        return Place(graph.add("raw", slug, spec), slug)
    if isinstance(dataset, LocalDataset):
        named = {"train": dataset.path}
    elif isinstance(dataset, LocalSplitDataset):
        named = {s: getattr(dataset.files, s) for s in SPLITS if getattr(dataset.files, s)}
    else:
        assert_never(dataset)
    # In the order of their names, which the frozen plan keeps: the job pairs names with places.
    files = {split: sources.rows_file(path) for split, path in sorted(named.items())}
    slug = slug_of_path(named["train"])
    spec = {
        "source": "path",
        "files": {f"{split}{file.suffix}": sources.sha256(file) for split, file in files.items()},
    }
    return Place(graph.add("raw", slug, spec, sources=map(str, files.values())), slug)


def _questions(graph: Graph, sources: LocalSources, benchmark: Benchmark) -> Place:
    """Add the artifact of one benchmark's questions."""
    if isinstance(benchmark, HubMmlu):
        slug = slugify(benchmark.hub.split("/")[-1])
        spec: dict[str, Any] = {
            "source": "hub",
            "kind": "mmlu",
            "hub": benchmark.hub,
            "revision": benchmark.revision,
        }
        place = Place(
            graph.add("benchmarks", slug, spec), slug, tuple(sorted(CATEGORY_MAPS["hendrycks"]))
        )
    elif isinstance(benchmark, LocalMmlu):
        slug = slug_of_path(benchmark.path)
        files = sources.mmlu_files(benchmark.path)
        folder = sources.locate(benchmark.path)
        id = graph.add(
            "benchmarks",
            slug,
            {"source": "path", "kind": "mmlu", "files": files},
            sources=(str(folder / name) for name in files),
        )
        subjects = tuple(sorted(Path(name).stem for name in files if name.startswith("test/")))
        small = sources.question_count(benchmark.path) <= ONE_JOB_QUESTIONS
        place = Place(id, slug, subjects, in_one_job=small)
    elif isinstance(benchmark, ExactMatch):
        file = sources.rows_file(benchmark.path)
        slug = slugify(file.parent.name if file.stem == "questions" else file.stem)
        spec = {
            "source": "path",
            "kind": "exact_match",
            "files": {"questions.jsonl": sources.sha256(file)},
        }
        return Place(graph.add("benchmarks", slug, spec, sources=(str(file),)), slug)
    else:
        assert_never(benchmark)
    unknown = sorted(set(benchmark.subjects or ()) - set(place.subjects))
    if unknown:
        raise ConfigError(
            f"subjects: the benchmark has no {', '.join(unknown)}; it has"
            f" {', '.join(place.subjects)}"
        )
    return place


def _template(sources: LocalSources, template: str) -> str | dict[str, str]:
    """Return the chat template of a run as its shards' spec holds it: by its text."""
    if template in ("tokenizer", "chatml"):
        return template
    return {"name": "custom", "text": sources.locate(template).read_text()}


def _tune(
    graph: Graph,
    config: Config,
    run: Run,
    template: str | dict[str, str],
    model: Place,
    raw: Place,
) -> tuple[dict[str, str], Place]:
    """Add what one run makes; return its artifacts by stage, and the merged model."""
    dataset = config.datasets[run.dataset]
    chat = graph.add(
        "chat",
        raw.slug,
        dataset.model_dump(
            include={"format", "system", "valid_fraction", "test_fraction", "split_seed", "limit"}
        ),
        reads={"raw": raw.id},
    )
    shards = graph.add(
        "shards",
        f"{raw.slug}-{model.slug}",
        {
            "template": template,
            "train_on": run.train_on,
            "max_length_tokens": run.training.max_length_tokens,
            "on_too_long": run.on_too_long,
        },
        reads={"chat": chat, "model": model.id},
        gates=[Gate("ledger", chat, dataset.max_dropped_fraction)],
    )
    slug = f"{model.slug}-{raw.slug}-r{run.lora.r}"
    adapter = graph.add(
        "adapters",
        slug,
        run.model_dump(mode="json", include={"lora", "quantization", "training"}),
        reads={"model": model.id, "shards": shards},
        gates=[Gate("contract", shards)],
    )
    merged = graph.add(
        "merged",
        slug,
        {},
        reads={"model": model.id, "adapter": adapter},
        gates=[Gate("verdict", adapter)] if run.on_verdict == "stop" else [],
    )
    proof = graph.add(
        "proofs", slug, {}, reads={"model": model.id, "adapter": adapter, "merged": merged}
    )
    artifacts = {
        "raw": raw.id,
        "chat": chat,
        "shards": shards,
        "adapters": adapter,
        "merged": merged,
        "proofs": proof,
        "models": model.id,
    }
    return artifacts, Place(merged, slug)


def _score(
    graph: Graph,
    config: Config,
    benchmarks: Mapping[str, Place],
    *,
    name: str,
    kind: Any,
    base: str | None,
    model: Place,
    artifacts: Mapping[str, str] | None = None,
    keep_merged: bool = True,
) -> Candidate:
    """Add the scores of one candidate and return the candidate."""
    own = dict(artifacts or {"models": model.id})
    gates = [Gate("proof", own["proofs"])] if "proofs" in own else []
    scores, categories = {}, {}
    for label, benchmark in config.benchmarks.items():
        place = benchmarks[label]
        scores[label] = tuple(
            graph.add(
                "scores",
                "-".join(filter(None, (model.slug, place.slug, cell))),
                {**_protocol(benchmark), "subjects": subjects},
                reads={"model": model.id, "benchmark": place.id},
                gates=gates,
            )
            for cell, subjects in _cells(benchmark, place)
        )
        categories[label] = graph.add(
            "categories",
            f"{model.slug}-{label}",
            {
                "benchmark": label,
                "categories": getattr(benchmark, "categories", "none"),
                "subjects": getattr(benchmark, "subjects", None),
            },
            reads={"scores": scores[label]},
        )
    return Candidate(name, kind, base, own, scores, categories, keep_merged)


def _protocol(benchmark: Benchmark) -> dict[str, Any]:
    """Return how a benchmark is asked: all of its identity but its subjects and their map."""
    asked = benchmark.model_dump(
        include={"kind", "shots", "chat_template", "limit", "dtype", "max_new_tokens"}
    )
    return {"shots": 0, "max_new_tokens": None, **asked}


def _cells(benchmark: Benchmark, place: Place) -> list[tuple[str, tuple[str, ...]]]:
    """Return the scoring jobs of a benchmark: name and subjects of each.

    A job scores a whole part of the refinement or none of it, so that another category map or
    another choice of subjects finds its scores made. A small benchmark is one job: starting several
    would take longer than asking all of it.
    """
    if place.in_one_job or not place.subjects:
        return [("", place.subjects)]
    wanted = set(getattr(benchmark, "subjects", None) or place.subjects)
    return [cell for cell in refinement(place.subjects) if wanted & set(cell[1])]


def _report(graph: Graph, config: Config) -> str:
    """Add the comparison and the report of all candidates; return the report's id."""
    named = [{"name": c.name, "kind": c.kind, "base": c.base} for c in graph.candidates]
    scored = [
        {**words, "scores": dict(c.scores), "categories": dict(c.categories)}
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    shown = [
        {**words, "artifacts": dict(c.artifacts), "scores": dict(c.scores)}
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    comparison = graph.add(
        "comparisons",
        "all",
        {"candidates": scored, "benchmarks": list(config.benchmarks)},
        reads={
            "scores": _unique(id for c in graph.candidates for v in c.scores.values() for id in v),
            "categories": _unique(id for c in graph.candidates for id in c.categories.values()),
        },
        knows={"chain": _chain(graph)},
    )
    return graph.add(
        "reports",
        "all",
        {"title": config.report.title, "candidates": shown},
        reads={"comparison": comparison},
        knows={"facts": _chain(graph)},
    )


def _chain(graph: Graph) -> tuple[str, ...]:
    """Return the artifacts whose manifests the comparison joins and the report shows."""
    return _unique(
        id
        for candidate in graph.candidates
        for id in (
            *candidate.artifacts.values(),
            *(score for ids in candidate.scores.values() for score in ids),
        )
    )


def _unique(ids: Any) -> tuple[str, ...]:
    """Return *ids* without repetitions, in order."""
    return tuple(dict.fromkeys(ids))

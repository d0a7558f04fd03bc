"""What Tunesmith makes of a config: every artifact with its spec, its edges and its gates.

This is the one place that knows both the config's words and the stages' specs. Nothing here runs
or looks at results.
"""

from collections.abc import Mapping
from typing import Any

from scripts.lib.categories import refinement
from scripts.lib.config import Config
from scripts.lib.config_benchmarks import Benchmark
from scripts.lib.config_runs import Run
from scripts.lib.errors import ConfigError
from scripts.lib.graph import Candidate, Gate, Graph
from scripts.lib.pipeline_sources import Place, add_model, add_questions, add_raw, template_text
from scripts.lib.sources import LocalSources


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
    models = _each("models", config.models, problems, lambda m: add_model(graph, sources, m))
    datasets = _each("datasets", config.datasets, problems, lambda d: add_raw(graph, sources, d))
    benchmarks = _each(
        "benchmarks", config.benchmarks, problems, lambda b: add_questions(graph, sources, b)
    )
    templates = _each("runs", config.runs, problems, lambda r: template_text(sources, r.template))
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

"""What Tunesmith makes of a config: every artifact with its spec, its edges and its gates.

This is the one place that knows both the config's words and the stages' specs. Nothing here runs
or looks at results.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.lib.config import Config
from scripts.lib.config_benchmarks import MmluOptions
from scripts.lib.config_candidates import Combination
from scripts.lib.config_held_out import HeldOut
from scripts.lib.config_judged_pairs import JudgedPairs
from scripts.lib.config_runs import Run
from scripts.lib.errors import ConfigError
from scripts.lib.graph import Candidate, CandidateKind, Gate, Graph
from scripts.lib.pipeline_adapters import Adapter, combine, merge, tune
from scripts.lib.pipeline_judged import add_judgements, only_judges
from scripts.lib.pipeline_protocol import (
    category_map,
    cells,
    metric,
    protocol,
    task_gates,
)
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
    rows = {name: (config.datasets[name], raw) for name, raw in datasets.items()}
    benchmarks = _each(
        "benchmarks", config.benchmarks, problems, lambda b: add_questions(graph, sources, b, rows)
    )
    templates = _each("runs", config.runs, problems, lambda r: template_text(sources, r.template))
    if problems:
        raise ConfigError("\n".join(problems))
    shared = _Shared(graph, config, benchmarks, models)
    for name, model in models.items():
        if not only_judges(name, config):
            shared.add_base(name, model)
    adapters = {
        name: tune(graph, config, run, templates[name], models[run.model], datasets[run.dataset])
        for name, run in config.runs.items()
    }
    for name, run in config.runs.items():
        shared.add_tuned(name, "run", run.model, adapters[name], run)
    for name, combination in config.candidates.items():
        base = config.runs[next(iter(combination.combine))].model
        combined = combine(graph, combination, adapters)
        shared.add_tuned(name, "combination", base, combined, combination)
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


@dataclass(frozen=True)
class _Shared:
    """What all candidates are scored with, and where they go."""

    graph: Graph
    config: Config
    benchmarks: Mapping[str, Place]
    models: Mapping[str, Place]

    def add_base(self, name: str, model: Place) -> None:
        """Add a base model as a candidate."""
        # Answers to be judged are of no use where nothing stands beside them.
        compared = any(run.model == name for run in self.config.runs.values())
        scores = self._score(model.slug, {"model": model.id}, (), judged=compared)
        self.graph.candidates.append(
            Candidate(
                name,
                "base",
                None,
                artifacts={"models": model.id},
                scores=scores,
                categories=self._sum_up(model.slug, scores, {}),
            )
        )

    def add_tuned(
        self,
        name: str,
        kind: CandidateKind,
        base: str,
        adapter: Adapter,
        settings: Run | Combination,
    ) -> None:
        """Add an adapter as a candidate, merged and proved unless the *settings* say otherwise."""
        artifacts = dict(adapter.artifacts)
        if settings.merge:
            artifacts |= merge(self.graph, adapter)
            reads = {"model": artifacts["merged"]}
            gates: tuple[Gate, ...] = (Gate("proof", artifacts["proofs"]),)
        else:
            reads, gates = {"model": adapter.model.id, "adapter": adapter.id}, adapter.gates
        scores = self._score(adapter.slug, reads, gates)
        judgements = self._judge(adapter.slug, base, scores)
        self.graph.candidates.append(
            Candidate(
                name,
                kind,
                base,
                artifacts=artifacts,
                scores=scores,
                categories=self._sum_up(adapter.slug, scores, judgements),
                judgements=judgements,
                keep_merged=settings.keep_merged,
                publish=settings.publish.model_dump() if settings.publish.repo_id else None,
            )
        )

    def _score(
        self,
        slug: str,
        reads: Mapping[str, str],
        gates: tuple[Gate, ...],
        *,
        judged: bool = True,
    ) -> dict[str, tuple[str, ...]]:
        """Add the scores of what *reads* names; return their ids by benchmark."""
        scores: dict[str, tuple[str, ...]] = {}
        for label, benchmark in self.config.benchmarks.items():
            if isinstance(benchmark, JudgedPairs) and not judged:
                continue
            place = self.benchmarks[label]
            scores[label] = tuple(
                self.graph.add(
                    "scores",
                    "-".join(filter(None, (slug, place.slug, cell))),
                    {**protocol(benchmark), **place.backend, "subjects": subjects},
                    reads={**reads, "benchmark": place.id},
                    gates=(*gates, *task_gates(benchmark, place)),
                )
                for cell, subjects in cells(benchmark, place)
            )
        return scores

    def _judge(self, slug: str, base: str, scores: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Add the judgements on a tuned model beside its *base*; return their ids by benchmark."""
        (beside,) = (c.scores for c in self.graph.candidates if c.name == base)
        return {
            label: add_judgements(
                self.graph,
                benchmark,
                self.benchmarks[label],
                self.models,
                slug=slug,
                base=beside[label],
                run=scores[label],
            )
            for label, benchmark in self.config.benchmarks.items()
            if isinstance(benchmark, JudgedPairs)
        }

    def _sum_up(
        self,
        slug: str,
        scores: Mapping[str, tuple[str, ...]],
        judgements: Mapping[str, str],
    ) -> dict[str, str]:
        """Add what sums up scores or judgements; return the ids by benchmark."""
        categories: dict[str, str] = {}
        for label, benchmark in self.config.benchmarks.items():
            reads: dict[str, str | tuple[str, ...]] = {"scores": scores.get(label, ())}
            if isinstance(benchmark, JudgedPairs):
                if label not in judgements:
                    continue
                reads = {"judgements": judgements[label]}
            categories[label] = self.graph.add(
                "categories",
                f"{slug}-{label}",
                {
                    "benchmark": label,
                    "categories": category_map(benchmark),
                    "subjects": getattr(benchmark, "subjects", None),
                    "metric": metric(benchmark),
                },
                reads=reads,
            )
        return categories


def _report(graph: Graph, config: Config) -> str:
    """Add the comparison and the report of all candidates; return the report's id."""
    named = [
        {"name": c.name, "kind": c.kind, "base": c.base, "unmerged": c.unmerged}
        for c in graph.candidates
    ]
    scored = [
        {
            **words,
            "scores": dict(c.scores),
            "categories": dict(c.categories),
            "judgements": dict(c.judgements),
        }
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    shown = [
        {
            **words,
            "artifacts": dict(c.artifacts),
            "scores": dict(c.scores),
            "judgements": dict(c.judgements),
        }
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    held_out = [name for name, b in config.benchmarks.items() if isinstance(b, HeldOut)]
    judged = [name for name, b in config.benchmarks.items() if isinstance(b, JudgedPairs)]
    counted = [name for name in config.benchmarks if name not in (*held_out, *judged)]
    comparison = graph.add(
        "comparisons",
        "all",
        {
            "candidates": scored,
            "benchmarks": counted,
            "held_out": held_out,
            "judged": judged,
        },
        reads={
            "scores": _unique(id for c in graph.candidates for n in counted for id in c.scores[n]),
            "categories": _unique(id for c in graph.candidates for id in c.categories.values()),
        },
        knows={"chain": _chain(graph)},
    )
    legacy = {
        name: benchmark.subjects
        for name, benchmark in config.benchmarks.items()
        if config.report.legacy_results and isinstance(benchmark, MmluOptions)
    }
    written = [{"benchmark": name, "subjects": subjects} for name, subjects in legacy.items()]
    predictions = _unique(id for c in graph.candidates for name in legacy for id in c.scores[name])
    return graph.add(
        "reports",
        "all",
        {"title": config.report.title, "candidates": shown, "legacy": written},
        reads={"comparison": comparison} | ({"scores": predictions} if legacy else {}),
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
            *candidate.judgements.values(),
            *(
                judge
                for judged in candidate.judgements.values()
                for judge in graph.artifacts[judged].reads.get("judge", ())
            ),
        )
    )


def _unique(ids: Any) -> tuple[str, ...]:
    """Return *ids* without repetitions, in order."""
    return tuple(dict.fromkeys(ids))

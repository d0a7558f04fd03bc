"""What Tunesmith makes of a config: every artifact with its spec, its edges and its gates.

This is the one place that knows both the config's words and the stages' specs. Nothing here runs
or looks at results.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.lib.artifacts.graph import Candidate, CandidateKind, CodeOf, Gate, Graph, slugify
from scripts.lib.config.candidates import Combination
from scripts.lib.config.judged_pairs import JudgedPairs
from scripts.lib.config.load import Config
from scripts.lib.config.runs import Run
from scripts.lib.data.template_spec import OWN, TemplateSpec, given
from scripts.lib.errors import ConfigError
from scripts.lib.plan.adapters import Adapter, combine, merge, tune
from scripts.lib.plan.judged_pairs import add_judgements, only_judges
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.protocol import (
    category_map,
    metric,
    protocol,
    subjects_of,
    task_gates,
)
from scripts.lib.plan.report import add_report
from scripts.lib.plan.sources import Place, add_model, add_questions, add_raw
from scripts.lib.plan.templates import lacking, template_gates, template_text


def build_graph(
    config: Config, sources: LocalSources, *, code: CodeOf, lock: Mapping[str, str]
) -> Graph:
    """Return the graph of everything that *config* asks for.

    Args:
        config: The checked configuration, sweeps expanded.
        sources: The local files that it names.
        code: Rule and benchmark kinds -> digest of the program.
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
    asked = _each("models", config.models, problems, lambda m: template_text(sources, m.template))
    own = {name: run for name, run in config.runs.items() if run.template}
    trained = _each("runs", own, problems, lambda r: template_text(sources, r.template))
    if not problems:
        problems += lacking(config, sources)
    if problems:
        raise ConfigError("\n".join(problems))
    shared = _Shared(graph, config, benchmarks, models, asked)
    for name, model in models.items():
        if not only_judges(name, config):
            shared.add_base(name, model)
    gates = tuple(gate for name, m in models.items() for gate in template_gates(name, m.id, config))
    adapters = {
        name: tune(
            graph,
            config,
            run,
            trained.get(name, asked[run.model]),
            models[run.model],
            datasets[run.dataset],
            gates,
        )
        for name, run in config.runs.items()
    }
    for name, run in config.runs.items():
        shared.add_tuned(name, "run", run.model, adapters[name], run)
    for name, combination in config.candidates.items():
        base = config.runs[next(iter(combination.combine))].model
        combined = combine(graph, combination, adapters)
        shared.add_tuned(name, "combination", base, combined, combination)
    graph.report = add_report(graph, config)
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
    templates: Mapping[str, TemplateSpec]

    def add_base(self, name: str, model: Place) -> None:
        """Add a base model as a candidate."""
        # Answers to be judged are of no use where nothing stands beside them.
        compared = any(run.model == name for run in self.config.runs.values())
        scores = self._score(
            model.slug,
            {"model": model.id},
            (),
            judged=compared,
            template=self.templates[name],
        )
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
        template: TemplateSpec = OWN,
    ) -> dict[str, tuple[str, ...]]:
        """Add the scores of what *reads* names; return their ids by benchmark.

        Args:
            slug: Words for it.
            reads: The model, and the adapter to put on it.
            gates: Findings that may forbid to ask it.
            judged: Whether its answers are compared with others.
            template: What a base is asked through; what was tuned carries its template with it.
        """
        scores: dict[str, tuple[str, ...]] = {}
        for label, benchmark in self.config.benchmarks.items():
            if isinstance(benchmark, JudgedPairs) and not judged:
                continue
            place = self.benchmarks[label]
            asked = protocol(benchmark)
            asked |= {**place.backend, **(given(template) if asked["chat_template"] else {})}
            scores[label] = tuple(
                self.graph.add(
                    "scores",
                    "-".join([slug, place.slug, *([slugify(subject)] if subject else [])]),
                    {**asked, "subject": subject},
                    reads={**reads, "benchmark": place.id},
                    gates=(*gates, *task_gates(benchmark, place)),
                    kinds=(benchmark.kind,),
                )
                for subject in subjects_of(benchmark, place)
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
                self.templates,
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
                    "kind": benchmark.kind,
                    "benchmark": label,
                    "categories": category_map(benchmark),
                    "subjects": getattr(benchmark, "subjects", None),
                    "metric": metric(benchmark),
                },
                reads=reads,
                kinds=(benchmark.kind,),
            )
        return categories

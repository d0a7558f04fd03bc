"""What is asked of each candidate: scores, judgements and sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from scripts.lib.artifacts.graph import Candidate, CandidateKind, Gate, Graph, slugify
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.config.candidates import Combination
from scripts.lib.config.existing import GivenAdapter
from scripts.lib.config.load import Config
from scripts.lib.config.runs import Run
from scripts.lib.data.templates import OWN, TemplateSpec, given
from scripts.lib.plan.adapters import Adapter, TunedModel, merge
from scripts.lib.plan.sources import Place, subjects_of


def only_judges(name: str, config: Config) -> bool:
    """Return whether a model judges what others answer and nothing is tuned from it.

    Nobody asks then what it can do itself, and to find out may cost more than all the rest.
    """
    judges = {
        benchmark.judge.model
        for benchmark in config.benchmarks.values()
        if isinstance(benchmark, JudgedPairs) and benchmark.judge.endpoint is None
    }
    return bool(config.bases) and name in judges - config.bases


@dataclass(frozen=True)
class Candidates:
    """What all candidates are scored with, and where they go."""

    graph: Graph
    config: Config
    benchmarks: Mapping[str, Place]
    models: Mapping[str, Place]
    templates: Mapping[str, TemplateSpec]

    def add_base(self, name: str, model: Place) -> None:
        """Add a base model as a candidate."""
        # Answers to be judged are of no use where nothing stands beside them.
        compared = name in self.config.bases
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

    def add_checkpoint(
        self, name: str, base: str, model: Place, template: TemplateSpec, gates: tuple[Gate, ...]
    ) -> None:
        """Add a finished checkpoint as a candidate, with what tells it from its base.

        Args:
            name: Its name.
            base: The model that it is compared with.
            model: The checkpoint.
            template: What it is asked through.
            gates: Findings that may forbid to ask it.
        """
        changes = self.graph.add(
            "changes",
            model.slug,
            {},
            reads={"model": self.models[base].id, "checkpoint": model.id},
        )
        scores = self._score(model.slug, {"model": model.id}, gates, template=template)
        judgements = self._judge(model.slug, base, scores)
        self.graph.candidates.append(
            Candidate(
                name,
                "checkpoint",
                base,
                data_known=False,
                artifacts={"models": model.id, "changes": changes},
                scores=scores,
                categories=self._sum_up(model.slug, scores, judgements),
                judgements=judgements,
            )
        )

    def add_tuned(
        self,
        name: str,
        kind: CandidateKind,
        base: str,
        tuned: Adapter | TunedModel,
        settings: Run | Combination | GivenAdapter,
        *,
        group: str | None = None,
    ) -> None:
        """Add a tuned model as a candidate.

        An adapter is merged and proved unless the *settings* say otherwise; what was trained as a
        whole is a model already.
        """
        artifacts = dict(tuned.artifacts)
        card = None
        match tuned:
            case TunedModel():
                reads, gates, card = {"model": tuned.id}, tuned.gates, tuned.card
            case Adapter() if settings.merge:
                artifacts |= merge(self.graph, tuned)
                reads = {"model": artifacts["merged"]}
                gates = (Gate("proof", artifacts["proofs"]),)
            case Adapter():
                reads, gates = {"model": tuned.model.id, "adapter": tuned.id}, tuned.gates
            case _:
                assert_never(tuned)
        scores = self._score(tuned.slug, reads, gates)
        judgements = self._judge(tuned.slug, base, scores)
        self.graph.candidates.append(
            Candidate(
                name,
                kind,
                base,
                artifacts=artifacts,
                datasets=tuned.datasets,
                scores=scores,
                categories=self._sum_up(tuned.slug, scores, judgements),
                judgements=judgements,
                keep_merged=settings.keep_merged,
                publish=settings.publish.model_dump() if settings.publish.repo_id else None,
                card=card,
                group=group,
                trained_on=tuned.trained_on,
                data_known=tuned.data_known,
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
            template: What a base or a checkpoint is asked through; what was tuned here carries its
                template with it.
        """
        scores: dict[str, tuple[str, ...]] = {}
        for label, benchmark in self.config.benchmarks.items():
            if isinstance(benchmark, JudgedPairs) and not judged:
                continue
            place = self.benchmarks[label]
            asked = benchmark.protocol()
            own = tuple(Gate(kind, place.id, limit) for kind, limit in benchmark.gates())
            asked |= {**place.backend, **(given(template) if asked["chat_template"] else {})}
            scores[label] = tuple(
                self.graph.add(
                    "scores",
                    "-".join([slug, place.slug, *([slugify(subject)] if subject else [])]),
                    {**asked, "subject": subject},
                    reads={**reads, "benchmark": place.id},
                    gates=(*gates, *own),
                    kinds=(benchmark.kind,),
                )
                for subject in subjects_of(benchmark, place)
            )
        return scores

    def _judge(self, slug: str, base: str, scores: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Add the judgements on a tuned model beside its *base*; return their ids by benchmark."""
        (beside,) = (c.scores for c in self.graph.candidates if c.name == base)
        return {
            label: _add_judgements(
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
                    "categories": benchmark.category_map(),
                    "subjects": getattr(benchmark, "subjects", None),
                    "metric": benchmark.metric_spec(),
                },
                reads=reads,
                kinds=(benchmark.kind,),
            )
        return categories


def _add_judgements(
    graph: Graph,
    benchmark: JudgedPairs,
    prompts: Place,
    models: Mapping[str, Place],
    templates: Mapping[str, TemplateSpec],
    *,
    slug: str,
    base: Sequence[str],
    run: Sequence[str],
) -> str:
    """Add the judgements on one tuned model and return their id.

    A local judge and a service are two stages: who changes how a local model is asked must not pay
    a service again, and a service is asked from where the network is.

    Args:
        graph: Where to add them.
        benchmark: Who judges, and by what.
        prompts: What was answered.
        models: The models of the config.
        templates: Their chat templates.
        slug: Words for the tuned model.
        base: Ids of the base's answers.
        run: Ids of the tuned model's answers.
    """
    judge = benchmark.judge
    reads = {"base": base, "run": run, "benchmark": prompts.id}
    if judge.endpoint is not None:
        return graph.add(
            "remote_judgements",
            f"{slug}-{prompts.slug}-{slugify(judge.model.split('/')[-1])}",
            {"criteria": benchmark.criteria, "endpoint": judge.endpoint, "model": judge.model},
            reads=reads,
            execution={"api_key_env": judge.api_key_env},
        )
    template = given(templates[judge.model])
    return graph.add(
        "judgements",
        f"{slug}-{prompts.slug}-{models[judge.model].slug}",
        {"criteria": benchmark.criteria, "dtype": benchmark.dtype, **template},
        reads={**reads, "judge": models[judge.model].id},
    )

"""The part of the graph where a judge compares what a base and a tuned model answered."""

from collections.abc import Mapping, Sequence

from scripts.lib.artifacts.graph import Graph, slugify
from scripts.lib.config.judged_pairs import JudgedPairs
from scripts.lib.config.load import Config
from scripts.lib.data.template_spec import TemplateSpec, given
from scripts.lib.plan.sources import Place


def only_judges(name: str, config: Config) -> bool:
    """Return whether a model judges what others answer and nothing is tuned from it.

    Nobody asks then what it can do itself, and to find out may cost more than all the rest.
    """
    judges = {
        benchmark.judge.model
        for benchmark in config.benchmarks.values()
        if isinstance(benchmark, JudgedPairs) and benchmark.judge.endpoint is None
    }
    bases = {run.model for run in config.runs.values()}
    return bool(bases) and name in judges - bases


def add_judgements(
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

"""What Tunesmith makes of a config: every artifact with its spec, its edges and its gates.

This and its parts (sources, adapters, scores, report) are the one place that knows both the
config's words and the stages' specs. Nothing here runs or looks at results.
"""

from collections.abc import Mapping
from typing import Any

from scripts.lib.artifacts.graph import CodeOf, Graph
from scripts.lib.config.existing import Checkpoint, GivenAdapter
from scripts.lib.config.load import Config
from scripts.lib.config.sources import folder_of
from scripts.lib.data.templates import asked_through
from scripts.lib.errors import ConfigError
from scripts.lib.plan.adapter_modules import module_problems
from scripts.lib.plan.adapters import Adapter, TunedModel, combine, merge_problems, tune
from scripts.lib.plan.budget import add_budget, budget_faults
from scripts.lib.plan.contamination import Contamination
from scripts.lib.plan.control_tokens import impossible_rows
from scripts.lib.plan.given_adapters import add_adapter, check_adapter, start_problems
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.report import add_report
from scripts.lib.plan.scores import Candidates, only_judges
from scripts.lib.plan.sources import add_checkpoint, add_model, add_questions, add_raw
from scripts.lib.plan.templates import (
    checkpoint_gates,
    lacking,
    lacking_in_checkpoints,
    strange_to_trl,
    template_gates,
    template_text,
    unlike,
)


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
    needed = {name: (one, _wanted_splits(config, name)) for name, one in config.datasets.items()}
    datasets = _each("datasets", needed, problems, lambda pair: add_raw(graph, sources, *pair))
    rows = {name: (config.datasets[name], raw) for name, raw in datasets.items()}
    benchmarks = _each(
        "benchmarks", config.benchmarks, problems, lambda b: add_questions(graph, sources, b, rows)
    )
    checkpoints = _each(
        "candidates",
        config.checkpoints,
        problems,
        lambda c: (add_checkpoint(graph, sources, c), template_text(sources, c.template)),
    )
    if not problems:
        problems += budget_faults(config, benchmarks, sources)
    _each(
        "candidates",
        config.adapters,
        problems,
        lambda one: check_adapter(
            sources, one, folder_of(config.models[one.base]) if one.base in models else None
        ),
    )
    if not problems:
        problems += start_problems(config, sources)
    own_templates = {name: one for name, one in config.adapters.items() if one.template}
    of_adapters = _each(
        "candidates", own_templates, problems, lambda one: template_text(sources, one.template)
    )
    given = _each("models", config.models, problems, lambda m: template_text(sources, m.template))
    asked = {name: asked_through(template) for name, template in given.items()}
    own = {name: run for name, run in config.runs.items() if run.template}
    trained = _each("runs", own, problems, lambda r: template_text(sources, r.template))
    if not problems:
        problems += lacking(config, sources)
        problems += lacking_in_checkpoints(config, sources)
        problems += strange_to_trl(config, sources)
        problems += merge_problems(config, sources)
        problems += module_problems(config, sources)
    if not problems:
        problems += unlike(config, sources, asked, trained)
        templates = {name: trained.get(name, asked[run.model]) for name, run in config.runs.items()}
        problems += impossible_rows(config, sources, templates)
    if problems:
        raise ConfigError("\n".join(problems))
    candidates = Candidates(graph, config, benchmarks, models, asked)
    for name, model in models.items():
        if not only_judges(name, config):
            candidates.add_base(name, model)
    gates = tuple(gate for name, m in models.items() for gate in template_gates(name, m.id, config))
    given_adapters = {
        name: add_adapter(
            graph, sources, one, models[one.base], of_adapters.get(name), asked[one.base]
        )
        for name, one in config.adapters.items()
    }
    contamination = Contamination(graph, config, benchmarks)
    tuned: dict[str, Adapter | TunedModel] = _each(
        "runs",
        {name: (name, run) for name, run in config.runs.items()},
        problems,
        lambda named: tune(
            graph,
            config,
            named[1],
            trained.get(named[0], given[named[1].model]),
            models[named[1].model],
            datasets,
            gates,
            contamination,
            given_adapters.get(named[1].continue_from or ""),
        ),
    )
    if problems:
        raise ConfigError("\n".join(problems))
    groups = {run: name for name, members in config.replicates.items() for run in members}
    for name, run in config.runs.items():
        candidates.add_tuned(name, "run", run.model, tuned[name], run, group=groups.get(name))
    adapters = {name: one for name, one in tuned.items() if isinstance(one, Adapter)}
    adapters |= given_adapters
    for name, one in config.candidates.items():
        if isinstance(one, Checkpoint):
            model, template = checkpoints[name]
            stop = checkpoint_gates(name, model.id, config)
            candidates.add_checkpoint(name, one.base, model, template, stop)
        elif isinstance(one, GivenAdapter):
            candidates.add_tuned(name, "adapter", one.base, adapters[name], one)
        else:
            base = config.base_of(next(iter(one.combine)))
            combined = combine(graph, one, adapters)
            candidates.add_tuned(name, "combination", base, combined, one)
    graph.report = add_report(graph, config, contamination)
    graph.budget = add_budget(graph, config)
    return graph


def _wanted_splits(config: Config, dataset: str) -> set[str]:
    """Return the splits of a dataset that nobody can do without; none where nothing reads it."""
    asked = {
        held_out[1]
        for benchmark in config.benchmarks.values()
        if (held_out := benchmark.held_out_split()) and held_out[0] == dataset
    }
    runs = [run for run in config.runs.values() if dataset in run.dataset]
    measured = any(dataset in run.evaluate_on.values() for run in config.runs.values())
    watched = measured or any(run.training.watching() for run in runs)
    # Formatting refuses what leaves nothing to train on, whoever reads it.
    trained = {"train"} if asked or runs or measured else set()
    return asked | trained | ({"valid"} if watched else set())


def _each(group: str, entries: Mapping[str, Any], problems: list[str], make: Any) -> dict[str, Any]:
    """Apply *make* to every entry and collect what is wrong instead of stopping at the first."""
    result = {}
    for name, entry in entries.items():
        try:
            result[name] = make(entry)
        except ConfigError as error:
            problems.append(f"{group}.{name}: {error}")
    return result

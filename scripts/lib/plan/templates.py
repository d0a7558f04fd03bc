"""Which chat template each model and each run gets, and who lacks one.

A run's own wins over its model's, and that over the tokenizer's.
"""

from collections.abc import Iterator

from scripts.lib.artifacts.graph import Gate
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.config.benchmarks import Benchmark
from scripts.lib.config.load import Config
from scripts.lib.config.sources import LocalModel
from scripts.lib.data.chat_template_files import has_chat_template
from scripts.lib.data.templates import OWN, TemplateSpec, is_named
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.scores import only_judges


def template_text(sources: LocalSources, template: str) -> TemplateSpec:
    """Return a chat template as specs hold it.

    Raises:
        ConfigError: when the file is not there.
    """
    if is_named(template):
        return template
    return {"name": "custom", "text": sources.locate(template).read_text()}


def lacking(config: Config, sources: LocalSources) -> Iterator[str]:
    """Yield which local models bring no chat template and are to be asked through one.

    A model of the hub and a GGUF file are only known when they have been fetched; see
    `template_gates`.
    """
    for name, model in config.models.items():
        if not isinstance(model, LocalModel):
            continue
        folder = sources.locate(model.path)
        asking, told = list(_asking(name, config)), list(_told(name, config))
        if not (asking or told) or has_chat_template(folder):
            continue
        there = f"{folder} has no chat template, neither as a file nor in tokenizer_config.json"
        if asking:
            yield (
                f"models.{name}.template: {there}, and {', '.join(asking)} need one; set"
                " `template: chatml`, or the path of a .jinja file"
            )
        for run in told:
            yield f"runs.{run}.template: {there}; choose another `template`"


def template_gates(name: str, model: str, config: Config) -> tuple[Gate, ...]:
    """Return what holds up whoever needs that a model's tokenizer brings a chat template.

    Nothing where planning has looked already (`lacking`).

    Args:
        name: The model's name.
        model: Its artifact.
        config: The configuration.
    """
    needed = not isinstance(config.models[name], LocalModel) and any(_asking(name, config))
    return (Gate("chat_template", model, f"models.{name}.template"),) if needed else ()


def _asking(name: str, config: Config) -> Iterator[str]:
    """Yield the keys of what goes through a model's own template for want of another."""
    if config.models[name].template != OWN:
        return
    for label, benchmark in config.benchmarks.items():
        if _judged_by(name, benchmark):
            yield f"benchmarks.{label}.judge"
        if _asked(name, benchmark, config):
            yield f"benchmarks.{label}"
    for label, run in config.runs.items():
        if run.model == name and run.template is None:
            yield f"runs.{label}"


def _told(name: str, config: Config) -> Iterator[str]:
    """Yield the runs on a model that name the tokenizer's own template."""
    for label, run in config.runs.items():
        if run.model == name and run.template == OWN:
            yield label


def _asked(name: str, benchmark: Benchmark, config: Config) -> bool:
    """Tell whether a benchmark asks a base model through a chat template."""
    if not benchmark.protocol()["chat_template"] or only_judges(name, config):
        return False
    compared = any(run.model == name for run in config.runs.values())
    return compared or not isinstance(benchmark, JudgedPairs)


def _judged_by(name: str, benchmark: Benchmark) -> bool:
    """Tell whether a model is the local judge of a benchmark."""
    if not isinstance(benchmark, JudgedPairs) or benchmark.judge.endpoint is not None:
        return False
    return benchmark.judge.model == name

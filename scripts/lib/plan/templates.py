"""Which chat template each model and each run gets, and who lacks one.

A run's own wins over its model's, and that over the tokenizer's.
"""

from collections.abc import Iterator, Mapping

import jinja2

from scripts.lib.artifacts.graph import Gate
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.config.benchmarks import Benchmark
from scripts.lib.config.existing import Checkpoint
from scripts.lib.config.load import Config
from scripts.lib.config.sources import LocalModel, folder_of
from scripts.lib.data.chat_template_files import chat_template_of, has_chat_template
from scripts.lib.data.templates import OWN, TRL, TemplateSpec, is_named, named_text
from scripts.lib.data.training_templates import unknown_to_trl
from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.prompts import check_alike, parse_template, special_tokens
from scripts.lib.plan.scores import only_judges


def template_text(sources: LocalSources, template: str) -> TemplateSpec:
    """Return a chat template as specs hold it.

    Raises:
        ConfigError: when the file is not there, or is no template.
    """
    if is_named(template):
        return template
    place = sources.locate(template)
    try:
        text = place.read_text(encoding="utf-8")
        parse_template(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place} cannot be read as a chat template ({error})") from error
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{place}:{error.lineno} is no chat template: {error.message}") from error
    return {"name": "custom", "text": text}


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


def lacking_in_checkpoints(config: Config, sources: LocalSources) -> Iterator[str]:
    """Yield which local checkpoints bring no chat template and are to be asked through one."""
    for name, one in config.checkpoints.items():
        folder = folder_of(one.model)
        if folder is None or not (asking := _asking_checkpoint(one, config)):
            continue
        place = sources.locate(folder)
        if not has_chat_template(place):
            yield (
                f"candidates.{name}.template: {place} has no chat template, neither as a file nor"
                f" in tokenizer_config.json, and {', '.join(asking)} need one; name the one that it"
                " was trained with: `template: chatml`, or the path of a .jinja file"
            )


def checkpoint_gates(name: str, model: str, config: Config) -> tuple[Gate, ...]:
    """Return what may hold up the scores of a checkpoint that is not here yet.

    It may bring no chat template, or be quantised.

    Args:
        name: The candidate's name.
        model: Its artifact.
        config: The configuration.
    """
    one = config.checkpoints[name]
    if folder_of(one.model) is not None:
        return ()
    unquantised = Gate("quantised", model, f"candidates.{name}.model")
    if not _asking_checkpoint(one, config):
        return (unquantised,)
    return (unquantised, Gate("chat_template", model, f"candidates.{name}.template"))


def _asking_checkpoint(one: Checkpoint, config: Config) -> list[str]:
    """Return the keys of what asks a checkpoint through the template of its own tokenizer."""
    if one.template != OWN:
        return []
    asked = config.benchmarks.items()
    return [f"benchmarks.{label}" for label, b in asked if b.protocol()["chat_template"]]


def strange_to_trl(config: Config, sources: LocalSources) -> Iterator[str]:
    """Yield the runs that name TRL's training template on a local model for which it has none."""
    for name, run in config.runs.items():
        model = config.models[run.model]
        if config.template_of(run) != TRL or not isinstance(model, LocalModel):
            continue
        folder = sources.locate(model.path)
        if fault := unknown_to_trl(chat_template_of(folder)):
            key = f"runs.{name}" if run.template else f"models.{run.model}"
            yield f"{key}.template: is trl, and {folder} has another template: {fault}"


def unlike(
    config: Config,
    sources: LocalSources,
    asked: Mapping[str, TemplateSpec],
    trained: Mapping[str, TemplateSpec],
) -> Iterator[str]:
    """Yield which runs would be asked other prompts than their base, so that none compare.

    Only what is sure is told: both templates are known, and write neither a question nor one under
    a system turn alike.

    Args:
        config: The configuration.
        sources: The local files.
        asked: Model -> its template.
        trained: Run -> its template, where it has one of its own.
    """
    for name, run in config.runs.items():
        labels = [f"benchmarks.{b}" for b, one in config.benchmarks.items() if _through(one)]
        if not labels or name not in trained:
            continue
        own = _text(trained[name], run.model, config, sources)
        base = _text(asked[run.model], run.model, config, sources)
        if own is None or base is None or own == base:
            continue
        model = config.models[run.model]
        tokens = special_tokens(sources.locate(model.path)) if isinstance(model, LocalModel) else {}
        try:
            check_alike(sources, own, base, tokens)
        except ConfigError as error:
            yield (
                f"runs.{name}.template: {error}, and {', '.join(labels)} would ask"
                f" the two other prompts, which cannot be compared; write {run.template} as"
                f" models.{run.model}.template too, or leave this one out"
            )


def _through(benchmark: Benchmark) -> bool:
    """Tell whether a benchmark sets answers to prompts of a chat template side by side."""
    # A judge reads the question, not the prompt.
    return bool(benchmark.protocol()["chat_template"]) and not isinstance(benchmark, JudgedPairs)


def _text(template: TemplateSpec, model: str, config: Config, sources: LocalSources) -> str | None:
    """Return the text of a template; None where it comes with files that are not here yet."""
    if isinstance(template, Mapping):
        return template["text"]
    if text := named_text(template):
        return text
    base = config.models[model]
    return chat_template_of(sources.locate(base.path)) if isinstance(base, LocalModel) else None


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
    if config.models[name].template not in (OWN, TRL):
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
        if run.model == name and run.template in (OWN, TRL):
            yield label


def _asked(name: str, benchmark: Benchmark, config: Config) -> bool:
    """Tell whether a benchmark asks a base model through a chat template."""
    if not benchmark.protocol()["chat_template"] or only_judges(name, config):
        return False
    return name in config.bases or not isinstance(benchmark, JudgedPairs)


def _judged_by(name: str, benchmark: Benchmark) -> bool:
    """Tell whether a model is the local judge of a benchmark."""
    if not isinstance(benchmark, JudgedPairs) or benchmark.judge.endpoint is not None:
        return False
    return benchmark.judge.model == name

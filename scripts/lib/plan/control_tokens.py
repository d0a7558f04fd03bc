"""Runs whose template adds control tokens to a local model, and what cannot be done with them.

Rendering adds what a tokenizer lacks, and training makes rows of the embedding for it. What is said
here is told by the job, too, for models that are not here yet.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.lib.config.load import Config
from scripts.lib.config.runs import Run
from scripts.lib.config.sources import LocalModel
from scripts.lib.data.chat_template_files import TOKENIZER_SETTINGS, chat_template_of, read_settings
from scripts.lib.data.control_tokens import TOKENIZER_FILE, written_tokens
from scripts.lib.data.templates import TemplateSpec, named_text
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.prompts import special_tokens

# Names of embeddings that LoRA can be asked for, as its authors call them.
OUTPUTS = ("lm_head", "embed_out")
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings")


def impossible_rows(
    config: Config, sources: LocalSources, templates: Mapping[str, TemplateSpec]
) -> Iterator[str]:
    """Yield what cannot be done with the new rows of runs on local models.

    Args:
        config: The configuration.
        sources: The local files.
        templates: Run -> the template that it is trained with.
    """
    for name, run in config.runs.items():
        wanted = list(_wanted(name, run, config))
        if not wanted or not (tokens := _added(run, config, sources, templates[name])):
            continue
        for key, what, remedy in wanted:
            yield (
                f"{key}: the template of runs.{name} adds {', '.join(tokens)} to the tokenizer of"
                f" models.{run.model}, which trains rows of its embedding, and {what}; {remedy},"
                " or choose a template made for this vocabulary"
            )


def _wanted(name: str, run: Run, config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield what of a run would not go with new rows: its key, the reason, and the remedy."""
    for label, one in config.combinations.items():
        if name in one.combine:
            yield (
                f"candidates.{label}.combine",
                "no method combines such rows",
                f"take {name} out",
            )
    targets = _listed(run.lora.target_modules) if run.lora else []
    if any(re.search(rf"\b{one}\b", t) for one in EMBEDDINGS for t in targets):
        key = f"runs.{name}.lora.target_modules"
        yield key, "LoRA on the embedding cannot be trained beside them", "leave the embedding out"
    saved = run.lora.modules_to_save if run.lora else None
    if whole := {*(saved or ())} & {*EMBEDDINGS, *OUTPUTS}:
        yield (
            f"runs.{name}.lora.modules_to_save",
            f"these are trained one by one and not beside the whole ({', '.join(sorted(whole))})",
            "leave it out",
        )
    by_vllm = [b for b, one in config.benchmarks.items() if getattr(one, "backend", "") == "vllm"]
    if not run.merge and by_vllm:
        yield (
            f"runs.{name}.merge",
            f"vLLM (benchmarks.{by_vllm[0]}.backend) cannot put them on a model",
            "write merge: true",
        )


def _listed(targets: Any) -> list[str]:
    return [targets] if isinstance(targets, str) else list(targets)


def _added(run: Run, config: Config, sources: LocalSources, template: TemplateSpec) -> list[str]:
    """Return the control tokens that a run's template adds; none where the model is not local."""
    model = config.models[run.model]
    text = template["text"] if isinstance(template, Mapping) else named_text(template)
    if not isinstance(model, LocalModel) or not text:
        return []
    folder = sources.locate(model.path)
    known = _known_tokens(folder)
    if text == chat_template_of(folder) or not known:
        return []
    return [token for token in written_tokens(text) if token not in known]


def _known_tokens(folder: Path) -> set[str]:
    """Return what the files of a tokenizer name as tokens; nothing where they do not tell."""
    file = folder / TOKENIZER_FILE
    stored = read_settings(file) if file.is_file() else {}
    vocabulary = stored.get("model", {}).get("vocab", [])
    if not vocabulary:
        return set()
    settings = folder / TOKENIZER_SETTINGS
    listed = read_settings(settings).get("added_tokens_decoder", {}) if settings.is_file() else {}
    added = [*stored.get("added_tokens", []), *listed.values()]
    entries = (one if isinstance(one, str) else one[0] for one in vocabulary)
    return {*entries, *(one["content"] for one in added), *special_tokens(folder).values()}

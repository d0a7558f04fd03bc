"""Candidates that exist already: finished checkpoints, and LoRA adapters that no run trained."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Discriminator, Tag, field_validator

from scripts.lib.config.checks import entries
from scripts.lib.config.fields import (
    COMMIT,
    Flag,
    HubName,
    ModelCommit,
    Settings,
    TemplateChoice,
    Text,
    group,
    refusal,
    setting,
)
from scripts.lib.config.problems import Problem, is_unknown
from scripts.lib.config.runs import Publish, Run
from scripts.lib.config.sources import GivenModel, folder_as_source, given_keys

_OWN_OR_FILE = "`tokenizer`, `chatml`, or a path ending in `.jinja`"


def _not_for_training(value: str | None) -> str | None:
    if value == "trl":
        raise refusal("is for training, and nothing is trained here; leave it out")
    return value


class Checkpoint(Settings):
    """A finished checkpoint, compared with its base; nothing is trained or merged."""

    model: GivenModel = setting(
        "The checkpoint, with its tokenizer.",
        "location",
        allowed="a folder, or a source as a model has it: `{path: FOLDER}`, `{hub: OWNER/NAME,"
        " revision: COMMIT}`, or a GGUF file",
    )
    base: Text = setting(
        "Model that it is compared with.", "identity", allowed="a name under `models`"
    )
    template: TemplateChoice = setting(
        "Chat template that it is asked through: that of its own tokenizer, ChatML, or a file.",
        "identity",
        "tokenizer",
        allowed=_OWN_OR_FILE,
    )

    _is_asked_through_it = field_validator("template")(_not_for_training)


class HubAdapter(Settings):
    """A LoRA adapter of the Hugging Face hub, pinned."""

    hub: HubName = setting("Repository of the adapter.", "identity", allowed="OWNER/NAME")
    revision: ModelCommit = setting("Commit of the repository.", "identity", allowed=COMMIT)


class LocalAdapter(Settings):
    """A LoRA adapter in a local folder, as PEFT saves it."""

    path: Text = setting("Folder of the adapter.", "location")


def _adapter_form(value: object) -> str | None:
    """Tell by its keys which form of source of an adapter *value* is meant to be."""
    keys = given_keys(value)
    if keys & {"hub", "revision"}:
        return "HubAdapter"
    return "LocalAdapter" if "path" in keys else None


_AnyAdapter: TypeAlias = Annotated[
    Annotated[HubAdapter, Tag("HubAdapter")] | Annotated[LocalAdapter, Tag("LocalAdapter")],
    Discriminator(
        _adapter_form,
        custom_error_type="form_of_adapter",
        custom_error_message="is no adapter; allowed: a folder, or the key path, or hub and"
        " revision",
    ),
]
AdapterSource: TypeAlias = Annotated[
    _AnyAdapter, BeforeValidator(folder_as_source, json_schema_input_type=Text | _AnyAdapter)
]


class GivenAdapter(Settings):
    """A LoRA adapter that no run trained, put on its base and compared with it."""

    adapter: AdapterSource = setting(
        "The adapter, as PEFT saves it: adapter_config.json and adapter_model.safetensors (or"
        " .bin), with or without a tokenizer.",
        "location",
        allowed="a folder, `{path: FOLDER}`, or `{hub: OWNER/NAME, revision: COMMIT}`",
    )
    base: Text = setting(
        "Model that it was trained on, and is compared with.",
        "identity",
        allowed="a name under `models`",
    )
    template: TemplateChoice | None = setting(
        "Chat template that it is asked through, which the merged model carries; null is that of"
        " the adapter's own tokenizer, and where it brings none, the one that its base is asked"
        " through.",
        "identity",
        None,
        allowed=f"{_OWN_OR_FILE}, or null",
    )
    merge: Flag = setting(
        "Merge it into the model and prove that; false scores model and adapter as they are.",
        "identity",
        True,
    )
    keep_merged: Flag = setting(
        "Keep the merged model after its proof and scores are there.", "execution", True
    )
    publish: Publish = group("Where the merged model is published.", Publish)

    _is_asked_through_it = field_validator("template")(_not_for_training)


def continue_problems(
    runs: Mapping[str, Run], candidates: Mapping[str, object], sources: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield the runs that cannot go on from the adapter that they name.

    Args:
        runs: All runs, sweeps expanded.
        candidates: All candidates beside them.
        sources: Run -> its key in the file.
    """
    given = {name: one for name, one in candidates.items() if isinstance(one, GivenAdapter)}
    for name, run in runs.items():
        start, path = run.continue_from, ("runs", sources[name], "continue_from")
        if start is None:
            continue
        if start not in given:
            yield Problem(path, _no_start(start, run.model, runs, candidates, given))
        elif given[start].base != run.model:
            yield Problem(
                path,
                f"changes {given[start].base}, and this run tunes {run.model}; name an adapter of"
                " the same model",
            )
        if run.lora is None:
            yield Problem(
                path, "is for an adapter, and lora: null trains all weights; leave one out"
            )


def _no_start(
    start: str,
    model: str,
    runs: Mapping[str, Run],
    candidates: Mapping[str, object],
    given: Mapping[str, GivenAdapter],
) -> str:
    """Say what a name is that no adapter has, and how to go on from what is meant."""
    entry = "candidates: {NAME: {adapter: %s, base: %s}}"
    if start in runs:
        if runs[start].lora is None:
            return f"{start!r} trains all weights, and has no adapter to go on from"
        told = entry % (f"results/runs/{start}/adapter", runs[start].model)
        return f"{start!r} is a run; when it is trained, give its adapter a name: {told}"
    if isinstance(candidates.get(start), Checkpoint):
        return f"{start!r} is a finished model and no adapter; train it on under `models`"
    if start in candidates:
        return f"{start!r} is combined here, and nothing goes on from that; name an adapter"
    if "/" in start:
        return f"{start!r} is no name; give the folder one: {entry % (start, model)}"
    return f"{is_unknown(start, 'adapter', given)} (under candidates)"


def base_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the bases of candidates that no model is called.

    Args:
        raw: The configuration as written.
    """
    models = [str(name) for name, _ in entries(raw, "models")]
    for name, entry in entries(raw, "candidates"):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("base"), str):
            continue
        if entry["base"] not in models:
            text = is_unknown(entry["base"], "model", models)
            yield Problem(("candidates", name, "base"), text)
        if (own := entry.get("model")) in models and isinstance(own, str):
            yield Problem(
                ("candidates", name, "model"),
                f"{own!r} is the name of a model, which is a candidate by itself; for a folder of"
                f" that name write `{{path: {own}}}`",
            )
        runs = [str(run) for run, _ in entries(raw, "runs")]
        if (own := entry.get("adapter")) in runs and isinstance(own, str):
            yield Problem(
                ("candidates", name, "adapter"),
                f"{own!r} is the name of a run, which is a candidate by itself; for a folder of"
                f" that name write `{{path: {own}}}`",
            )

"""Adapters that exist already: what of them is refused while planning, and their artifacts.

Apart from `adapters`: what is found in their files is remembered, until the code that this module
reaches changes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.lib.adapters.faults import adapter_faults, adapter_file_names, start_faults
from scripts.lib.artifacts.graph import Graph, slugify
from scripts.lib.config.existing import GivenAdapter, LocalAdapter
from scripts.lib.config.load import Config
from scripts.lib.config.sources import LocalModel
from scripts.lib.data.chat_template_files import chat_template_of
from scripts.lib.data.templates import OWN, TemplateSpec
from scripts.lib.errors import ConfigError
from scripts.lib.model_files import TEMPLATE_FILE
from scripts.lib.plan.adapters import Adapter, given_shape
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.sources import Place


def add_adapter(
    graph: Graph,
    sources: LocalSources,
    one: GivenAdapter,
    base: Place,
    template: TemplateSpec | None,
    base_template: TemplateSpec,
) -> Adapter:
    """Add an adapter that exists already.

    Args:
        graph: Gets the artifact.
        sources: The local files.
        one: The adapter.
        base: The model that it is put on.
        template: The chat template that it is given, or None.
        base_template: What its base is asked through.
    """
    local: tuple[str, ...] = ()
    if isinstance(one.adapter, LocalAdapter):
        folder = sources.locate(one.adapter.path)
        slug = slugify(folder.resolve().name)
        spec: dict[str, Any] = {"source": "path", "files": _hashes(sources, folder)}
        local = tuple(str(folder / name) for name in spec["files"])
    else:
        slug = slugify(one.adapter.hub.split("/")[-1])
        spec = {"source": "hub", "hub": one.adapter.hub, "revision": one.adapter.revision}
    slug = f"{base.slug}-{slug}"
    asked = {"template": template, "base_template": None if template else base_template}
    id = graph.add(
        "given_adapters", slug, {**spec, **asked}, reads={"model": base.id}, sources=local
    )
    name = template["name"] if isinstance(template, Mapping) else template
    part = {"weight": None, "adapter": spec, "template": name}
    artifacts = {"given_adapters": id, "models": base.id}
    return Adapter(id, base, slug, artifacts, (), (part,), data_known=False)


def check_adapter(sources: LocalSources, one: GivenAdapter, base: str | None) -> None:
    """Refuse an adapter in a local folder that cannot be put on its base.

    Args:
        sources: The local files; remembers what was found.
        one: The adapter.
        base: Folder of its base as the config names it, where that is local.

    Raises:
        ConfigError: with what is wrong, and what to do.
    """
    if not isinstance(one.adapter, LocalAdapter):
        return
    folder = sources.locate(one.adapter.path)
    model = sources.locate(base) if base else None

    def check() -> bool:
        if faults := [*adapter_faults(folder, model)]:
            raise ConfigError("; ".join(faults))
        return True

    of_base = sources.model_files(base) if base else {}
    hashes = _hashes(sources, folder)
    sources.recall({"adapter": hashes, "base": of_base, "folder": str(folder)}, check)


def start_problems(config: Config, sources: LocalSources) -> Iterator[str]:
    """Yield the runs that cannot go on from the local adapter that they name.

    Args:
        config: The configuration.
        sources: The local files.
    """
    for name, run in config.runs.items():
        source = config.adapters[run.continue_from].adapter if run.continue_from else None
        if not isinstance(source, LocalAdapter):
            continue
        folder = sources.locate(source.path)
        for fault in start_faults(folder, given_shape(run)):
            yield f"runs.{name}.{fault}" if fault.startswith("lora.") else f"runs.{name}: {fault}"
        model = config.models[run.model]
        base = chat_template_of(sources.locate(model.path)) if isinstance(model, LocalModel) else ""
        own = chat_template_of(folder)
        if own and base and own != base and config.template_of(run) == OWN:
            yield (
                f"runs.{name}.template: the adapter in {folder} brings another chat template than"
                f" models.{run.model}; name the one to go on with, for example"
                f" {folder / TEMPLATE_FILE}"
            )


def _hashes(sources: LocalSources, folder: Path) -> dict[str, str]:
    return {name: sources.sha256(folder / name) for name in adapter_file_names(folder)}

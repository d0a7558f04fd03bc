"""Modules that runs on local models name, looked up in the headers of the models' weight files.

A job asks the model that it has loaded, in the same words (`adapters.modules`). Here only what is
sure is told: files do not say which class a module is of, and leave out an output layer that is
tied.
"""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.lib.adapters.modules import Modules, module_faults
from scripts.lib.config.load import Config
from scripts.lib.config.sources import LocalModel
from scripts.lib.plan.control_tokens import EMBEDDINGS, OUTPUTS
from scripts.lib.plan.local_files import LocalSources

WRAPPERS = ("model", "transformer", "gpt_neox")
"""What models in memory call their inner part; old files were saved from that."""

SURE_OF_MIXTURES = ("lora.layers_to_transform", "lora.target_modules")
"""What the files of a mixture tell, whose experts and routers are called otherwise in memory."""

_EXPERT = re.compile(r"\.experts\.\d+\.")
HEADER_LIMIT = 100_000_000  # bytes; the format's own


def module_problems(config: Config, sources: LocalSources) -> Iterator[str]:
    """Yield what runs on local models name and those do not have."""
    known: dict[str, Modules | None] = {}
    for name, run in config.runs.items():
        model = config.models[run.model]
        if run.lora is None or not isinstance(model, LocalModel):
            continue
        if run.model not in known:
            known[run.model] = stored_modules(sources.locate(model.path))
        modules = known[run.model]
        for key, text in module_faults(run.lora, modules) if modules else ():
            if not modules or not modules.experts or key in SURE_OF_MIXTURES:
                yield f"runs.{name}.{key}: {text} (models.{run.model})"


def stored_modules(folder: Path) -> Modules | None:
    """Return the modules that the weight files in *folder* have; None where they do not tell."""
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in _header(file).items():
            if name != "__metadata__":
                shapes[name] = entry["shape"]
    linear = [
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2
    ]
    if not linear:
        return None
    experts = {name for name in linear if _EXPERT.search(name)}
    elsewhere = {name.rpartition(".")[2] for name in linear if name not in experts}
    linear = [name for name in linear if name not in experts]
    bare = not any(name.startswith(f"{one}.") for name in shapes for one in WRAPPERS)
    prefixes = ("", *(f"{one}." for one in WRAPPERS)) if bare else ("",)
    others = {name for name in linear if name.rpartition(".")[2] in (*EMBEDDINGS, *OUTPUTS)}
    modules = {name.rpartition(".")[0] for name in shapes}
    above = {module.rsplit(".", up)[0] for module in modules for up in range(1, 6)}
    return Modules(
        experts=[name for name in shapes if ".experts." in name],
        unreached={name.rpartition(".")[2] for name in experts} - elsewhere,
        linear=[f"{prefix}{name}" for prefix in prefixes for name in linear if name not in others],
        others={*(f"{prefix}{name}" for prefix in prefixes for name in others), *OUTPUTS[:1]},
        all={f"{prefix}{name}" for prefix in prefixes for name in modules | above} | {*OUTPUTS[:1]},
    )


def _header(file: Path) -> dict[str, Any]:
    """Return the header of a safetensors file; nothing where it cannot be read: a job tells why."""
    try:
        with file.open("rb") as stream:
            size = struct.unpack("<Q", stream.read(8))[0]
            read = stream.read(size) if size <= HEADER_LIMIT else b"{}"
        header = json.loads(read)
    except (OSError, ValueError, struct.error):
        return {}
    return header if isinstance(header, dict) else {}

"""The files of a LoRA adapter that someone brings, and why it cannot be put on a base.

Told from configs and from the names and shapes of tensors alone, so that planning can ask; torch is
imported only for weights in a pickle.
"""

import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.lib.adapters.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, REPEATABLE_INITS
from scripts.lib.model_files import (
    TEMPLATE_FILE,
    TOKENIZER_FILES,
    VOCABULARY_FILES,
    WEIGHTS_INDEX,
)

PICKLED_WEIGHTS = "adapter_model.bin"
"""Weights as PEFT saved them before safetensors; they are read without running what is in them."""

UNREPEATABLE_INITS = ("corda", "loftq", "lora_ga", "lora-ga", "mica")
"""What the names of starts begin with that take weights out of the base at random, or by data."""

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a tensor -> its shape."""

_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_(?:A|B|magnitude_vector)(?:\.weight)?"
    r"|lora_B\.bias|lora_embedding_[AB]|trainable_tokens_delta)"
)
_NAMED = re.compile(r"\.lora_\w+\.[^.]+\.weight$|\.lora_embedding_[AB]\.[^.]+$")
PEFT_NAMES = {"alpha": "lora_alpha", "dropout": "lora_dropout", "init": "init_lora_weights"}
"""What PEFT calls keys of `lora`, where it has another name."""

_STARTS = {"init": True, "eva_rho": None}
"""Keys of `lora` that say with which weights a new adapter starts."""

_LFS = b"version https://git-lfs"
_WRAPPED = "base_model.model."
OUTPUTS = ("lm_head", "embed_out")


def adapter_file_names(folder: Path) -> list[str]:
    """Return the names of the files of an adapter's folder that count, sorted.

    Others lie there often: checkpoints, optimizer states, logs, cards.
    """
    weights = ADAPTER_WEIGHTS if (folder / ADAPTER_WEIGHTS).is_file() else PICKLED_WEIGHTS
    wanted = (ADAPTER_CONFIG, weights, *TOKENIZER_FILES, TEMPLATE_FILE)
    return sorted(name for name in wanted if (folder / name).is_file())


def brings_tokenizer(folder: Path) -> bool:
    """Tell whether an adapter's folder holds a tokenizer."""
    return any((folder / name).is_file() for name in VOCABULARY_FILES)


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return the adapter_config.json of a folder; nothing where there is none that can be read."""
    try:
        content = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def adapter_faults(folder: Path, base: Path | None) -> Iterator[str]:
    """Yield why what is in *folder* cannot be put on *base*.

    Args:
        folder: An adapter as PEFT saves it, or what was taken for one.
        base: Folder of its base; None where it is not here yet.
    """
    if faults := [*_file_faults(folder)] or [*_config_faults(folder)]:
        yield from faults
        return
    try:
        own = adapter_shapes(folder)
        of_base = model_shapes(base) if base else {}
    except ValueError as error:
        yield str(error)
        return
    if of_base and base:
        yield from _misfits(folder, own, base, of_base)


def _file_faults(folder: Path) -> Iterator[str]:
    if not (folder / ADAPTER_CONFIG).is_file():
        yield f"{folder} has no {ADAPTER_CONFIG}: {_what_instead(folder)}"
        return
    weights = [n for n in (ADAPTER_WEIGHTS, PICKLED_WEIGHTS) if (folder / n).is_file()]
    if not weights:
        yield (
            f"{folder} has no weights ({ADAPTER_WEIGHTS} or {PICKLED_WEIGHTS}): save the adapter"
            " with save_pretrained of PEFT"
        )
        return
    with (folder / weights[0]).open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            yield (
                f"{folder / weights[0]} is a pointer of Git LFS, not the weights: run"
                " `git lfs pull` there"
            )


def _what_instead(folder: Path) -> str:
    if (folder / "config.json").is_file():
        return "it is a whole model; write `model:` instead of `adapter:`"
    if inner := sorted(file.parent.name for file in folder.glob(f"*/{ADAPTER_CONFIG}")):
        return f"the adapter is a folder further down: {', '.join(inner)}"
    return "it is no adapter as PEFT saves it"


def _config_faults(folder: Path) -> Iterator[str]:
    file, config = folder / ADAPTER_CONFIG, read_adapter_config(folder)
    if not config:
        yield f"{file} cannot be read as a group of settings: it is damaged"
        return
    if (kind := config.get("peft_type")) != "LORA":
        yield f"{file}: its kind is {kind}, and only adapters of the kind LORA can be used"
    if config.get("layer_replication"):
        yield (
            f"{file} uses layer_replication: layers that share one weight of the base, which no"
            " merged model can hold"
        )
    init = config.get("init_lora_weights", True)
    changing = str(init).lower().startswith((*REPEATABLE_INITS, *UNREPEATABLE_INITS))
    if changing and str(init).lower() not in REPEATABLE_INITS:
        yield (
            f"{file}: the start {init!r} changed the weights of the base, so that the adapter does"
            " not fit the base as published; save it converted to plain LoRA"
            " (path_initial_model_for_weight_conversion of PEFT's save_pretrained)"
        )


def start_faults(folder: Path, given: Mapping[str, Any]) -> Iterator[str]:
    """Yield why training cannot go on from an adapter.

    Args:
        folder: The adapter.
        given: What a run asks of the shape of its own: keys of `lora` -> values.
    """
    config = read_adapter_config(folder)
    if str(config.get("init_lora_weights", True)).lower() in REPEATABLE_INITS:
        yield (
            f"{folder / ADAPTER_CONFIG}: the start {config['init_lora_weights']!r} changed the"
            " weights of the base, from which training cannot go on; save it converted to plain"
            " LoRA"
        )
    for key, value in given.items():
        name = PEFT_NAMES.get(key, key)
        if key in _STARTS and value != _STARTS[key]:
            yield f"lora.{key} is of no use where a run starts with an adapter; leave it out"
        if key in _STARTS or key == "dropout" or _sorted(config.get(name)) == _sorted(value):
            continue
        if not value and not config.get(name):
            continue
        yield (
            f"lora.{key} is {value!r}, and the adapter that the run goes on from has"
            f" {config.get(name)!r}; leave it out, or say the same"
        )


def _sorted(value: Any) -> Any:
    """Return a list without its order, which changes nothing in names of modules."""
    return sorted(value) if isinstance(value, list | tuple) else value


def adapter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an adapter's tensors.

    Raises:
        ValueError: If its weights cannot be read, with words.
    """
    file = folder / ADAPTER_WEIGHTS
    if file.is_file():
        return _shapes(file)
    return {name: tuple(one.shape) for name, one in read_pickled(folder).items()}


def read_pickled(folder: Path) -> dict[str, Any]:
    """Return the tensors of an adapter in a pickle; nothing in it is run.

    Raises:
        ValueError: If it cannot be read so, with words.
    """
    import torch

    file = folder / PICKLED_WEIGHTS
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
        if not all(isinstance(one, torch.Tensor) for one in found.values()):
            raise TypeError("it holds more than tensors")
    # What is wrong with a pickle can be anything; all of it is a reason not to read it.
    except Exception as error:
        told = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{file} cannot be read as weights ({type(error).__name__}: {told}): save the adapter"
            f" as {ADAPTER_WEIGHTS}"
        ) from error
    return dict(found)


def model_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors; nothing where its files are not as they should be.

    Raises:
        ValueError: If a weight file cannot be read, with words.
    """
    names = sorted(file.name for file in folder.glob("*.safetensors"))
    index = folder / WEIGHTS_INDEX
    if "model.safetensors" in names:
        names = ["model.safetensors"]
    elif index.is_file():
        listed = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        names = sorted(listed & set(names))
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        found |= _shapes(folder / name)
    return found


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return what the header of a safetensors file tells.

    Source of the format: https://github.com/huggingface/safetensors#format
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError("its header ends behind it")
            entries = json.loads(stream.read(length))
        return {n: tuple(e["shape"]) for n, e in entries.items() if n != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(
            f"{file} cannot be read as safetensors ({error}): it is cut short or damaged; fetch or"
            " save it again"
        ) from error


def _misfits(folder: Path, own: Shapes, base: Path, of_base: Shapes) -> Iterator[str]:
    """Yield what of an adapter has no place in its base, or another shape there."""
    if named := [name for name in own if _NAMED.search(name)]:
        yield (
            f"the tensors of {folder} carry the name of an adapter ({named[0]}), so that nothing"
            " would be found; save it with save_pretrained of PEFT"
        )
        return
    modules = _changed_modules(own)
    # A tied output layer is not stored. Experts are named one by one in files and together in
    # memory, and their router may have two names: the jobs know both.
    looked = {n: dims for n, dims in modules.items() if "expert" not in n and n not in OUTPUTS}
    places = _by_place(of_base)
    lacking = [name for name in looked if _place(name) not in places]
    said = read_adapter_config(folder).get("base_model_name_or_path")
    told = f" (its {ADAPTER_CONFIG} names {said})" if said else ""
    remedy = f"it was trained on another base{told}; give that one as `base`"
    mixture = any("expert" in name for name in of_base)
    if lacking and (not mixture or len(lacking) == len(looked)):
        some = "none of" if len(lacking) == len(looked) else f"{len(lacking)} of"
        there = "is in" if len(lacking) == len(looked) else "are not in"
        yield (
            f"{some} the {len(looked)} layers that {folder} changes {there} {base}, for example"
            f" {lacking[0]}: {remedy}"
        )
        return
    odd = [
        (name, dims)
        for name, dims in looked.items()
        if dims
        and name not in lacking
        and sorted(dims) not in [sorted(shape) for shape in places[_place(name)]]
    ]
    if odd:
        (name, dims), *_ = odd
        found = places[_place(name)][0]
        yield (
            f"{name} is {found} in {base}, and {folder} fits {dims} ({len(odd)} such layers):"
            f" {remedy}"
        )


def _changed_modules(own: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the modules that an adapter changes, with the shape that fits where LoRA tells it."""
    found: dict[str, dict[str, int]] = {}
    for name, shape in own.items():
        plain = name.removeprefix(_WRAPPED).replace(".base_layer.", ".")
        plain = plain.replace(".modules_to_save.", ".").replace(".token_adapter.", ".")
        match = _PART.fullmatch(plain)
        module = match["module"] if match else plain.removesuffix(".weight").removesuffix(".bias")
        sizes = found.setdefault(module, {})
        part = (match["part"] if match else "").removesuffix(".weight")
        if part in ("lora_A", "lora_embedding_A") and len(shape) == 2:
            sizes["inputs"] = shape[1]
        elif part in ("lora_B", "lora_embedding_B") and len(shape) == 2:
            sizes["outputs"] = shape[0]
    return {
        module: (sizes["outputs"], sizes["inputs"]) if len(sizes) == 2 else ()
        for module, sizes in found.items()
    }


def _by_place(shapes: Shapes) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of weights by their place, which may be one in several towers."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        found.setdefault(_place(name.removesuffix(".weight").removesuffix(".bias")), []).append(
            shape
        )
    return found


def _place(module: str) -> str:
    """Return the end of a module's name, from the list of layers that it is in, or its last part.

    What stands before that may differ between files and memory, and did between versions.
    """
    parts = module.split(".")
    first = next((at for at, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[max(first - 1, 0) :])

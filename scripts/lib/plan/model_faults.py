"""What a local model folder lacks, told at planning instead of by a job hours later."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from scripts.lib.model_files import TOKENIZER_FILES

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LFS = b"version https://git-lfs"


def model_faults(folder: Path, names: Collection[str]) -> Iterator[str]:
    """Yield why *folder* is no complete safetensors model with a tokenizer.

    Weights are not read: what is in them is the business of the jobs.

    Args:
        folder: The folder.
        names: The files in it that belong to the model.
    """
    if pointers := [name for name in sorted(names) if _begins(folder / name, LFS)]:
        yield (
            f"{folder} holds pointers of Git LFS instead of {', '.join(pointers)}: run"
            " `git lfs pull` there"
        )
        return  # what a pointer stands for is not known
    yield from _config_faults(folder, names)
    if not any(name.endswith(".safetensors") for name in names):
        yield f"{folder} has no *.safetensors: save the model with safetensors"
    elif WEIGHTS not in names and INDEX in names:
        yield from _shard_faults(folder, names)
    if not any(name in names for name in TOKENIZER_FILES):
        yield (
            f"{folder} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}): copy the"
            " tokenizer's files of the model into it, for example with"
            " AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )


def _config_faults(folder: Path, names: Collection[str]) -> Iterator[str]:
    if "config.json" not in names:
        yield f"{folder} has no config.json: {_what_instead(folder)}"
    elif "model_type" not in _object(folder / "config.json"):
        yield (
            f"{folder / 'config.json'} names no model_type: it is damaged, or of something else"
            " than a Hugging Face model (an adapter?)"
        )


def _what_instead(folder: Path) -> str:
    """Say what a folder is that is no model, and what to do."""
    if (folder / "adapter_config.json").is_file():
        return "it is an adapter; name the model that it was made from, or merge it first"
    if ggufs := sorted(file.name for file in folder.glob("*.gguf")):
        return f"give one of its GGUF files as `gguf`: {', '.join(ggufs)}"
    if inner := sorted(file.parent.name for file in folder.glob("*/config.json")):
        return f"the model is a folder further down: {', '.join(inner)}"
    return "it is no Hugging Face model"


def _shard_faults(folder: Path, names: Collection[str]) -> Iterator[str]:
    """Yield the weight files that the index names and nobody has."""
    places = _object(folder / INDEX).get("weight_map")
    wanted = set(places.values()) if isinstance(places, dict) else set()
    if not wanted:
        yield f"{folder / INDEX} names no weight file: it is damaged"
    elif lacking := sorted(wanted - set(names)):
        yield (
            f"{folder} lacks {', '.join(lacking)}, which {INDEX} names: copy the rest of the"
            " model there"
        )


def _object(file: Path) -> dict[str, Any]:
    """Return a JSON file's object; what is none has no keys."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _begins(file: Path, start: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(start)) == start

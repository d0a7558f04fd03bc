"""Bring models into results/.

A hub repository comes by commit, a local folder by the hashes of its files, both as they are; a
GGUF file becomes a plain bfloat16 safetensors model.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.errors import ConfigError
from scripts.lib.fetch.access import access_fault, reason_of
from scripts.lib.fetch.cached_files import take_files
from scripts.lib.fetch.datasets import copy_planned
from scripts.lib.files import files_below, sha256_of
from scripts.lib.model_files import VOCABULARY_FILES, WEIGHT_SUFFIXES, WEIGHTS_INDEX

NEVER_FETCHED = [f"*{suffix}" for suffix in WEIGHT_SUFFIXES] + ["*.gguf", "*.onnx", "original/*"]
"""Files of a hub model that are not downloaded: pickles, and copies in other formats."""


def fetch_model(spec: Mapping[str, Any], sources: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write a complete Hugging Face model to *out*.

    Args:
        spec: `source` is `hub` (with hub, revision, trust_remote_code), `path` (with files), or
            `gguf` (with sha256).
        sources: The local files, for `path` and `gguf`.
        out: An empty folder.

    Raises:
        ConfigError: when what arrived is no complete model, or not what was planned.
    """
    if spec["source"] == "hub":
        _download_model(spec, out)
    elif spec["source"] == "path":
        copy_planned(spec["files"], {file.name: file for file in sources}, out)
    else:
        (file,) = sources
        if sha256_of(file) != spec["sha256"]:
            raise ConfigError(f"{file} changed while it was planned: start the workflow again")
        _dequantise(file, out)
    _check_complete(out, spec)
    config = json.loads((out / "config.json").read_text())
    return {
        "model_type": config.get("model_type"),
        "bytes": sum(file.stat().st_size for file in out.glob("*.safetensors")),
        "source": {key: value for key, value in spec.items() if key != "files"},
    }


def _check_complete(out: Path, spec: Mapping[str, Any]) -> None:
    """Refuse a model that lacks something, with what its owner can do."""
    names = {file.name for file in out.iterdir()}
    remedy = "download it, mend the folder, and name that by `path`"
    model = f"{spec['hub']} at {spec['revision']}" if spec["source"] == "hub" else "the model"
    if "config.json" not in names:
        raise ConfigError(f"{model} has no config.json: it is no Hugging Face model")
    if not names & set(VOCABULARY_FILES):
        raise ConfigError(
            f"{model} has no tokenizer (none of {', '.join(VOCABULARY_FILES)}): {remedy} with the"
            " tokenizer's files of the model that it was made from"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise ConfigError(
            f"{model} has no *.safetensors, and pickled weights are not loaded: {remedy} after"
            " saving it with safetensors"
        )
    if WEIGHTS_INDEX in names and "model.safetensors" not in names:
        listed = set(json.loads((out / WEIGHTS_INDEX).read_text())["weight_map"].values())
        if lacking := sorted(listed - names):
            raise ConfigError(
                f"{model} lacks {', '.join(lacking)}, which its {WEIGHTS_INDEX} names: {remedy}"
            )


def is_downloaded(spec: Mapping[str, Any]) -> bool:
    """Tell whether the hub's client has all of a model already."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(**_asked(spec), local_files_only=True)
    except (OSError, ValueError):  # none of it, or a part
        return False
    return True


def _asked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the client is asked for: one revision, safetensors only."""
    ignored = list(NEVER_FETCHED) if spec["trust_remote_code"] else [*NEVER_FETCHED, "*.py"]
    return {
        "repo_id": spec["hub"],
        "revision": spec["revision"],
        "ignore_patterns": ignored,
    }


def _download_model(spec: Mapping[str, Any], out: Path) -> None:
    """Take a model from what the hub's client keeps, and have it download the rest."""
    from huggingface_hub import snapshot_download

    hub, revision = spec["hub"], spec["revision"]
    try:
        folder = Path(snapshot_download(**_asked(spec)))
    # Whatever the network or the hub does: the text tells which repository it befell.
    except Exception as error:
        why = access_fault(hub, revision, "model") or f"{reason_of(error)}; start again"
        raise ConfigError(f"{hub} cannot be downloaded at {revision}: {why}") from error
    take_files(files_below(folder), out)


def _dequantise(file: Path, out: Path) -> None:
    """Turn a GGUF file into a plain bfloat16 model.

    transformers (5.23) keeps the weights packed after loading and refuses to save them, so the
    values are read out into a fresh model of the same architecture.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    packed = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16
    )
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config._name_or_path = ""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(packed.state_dict(), strict=True)
    model.generation_config = packed.generation_config
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _drop_local_words(out / "tokenizer_config.json", ("is_local", "local_files_only"))


def _drop_local_words(path: Path, words: tuple[str, ...]) -> None:
    """Remove from a JSON file what says how it was loaded rather than what it is."""
    content = json.loads(path.read_text())
    kept = {key: value for key, value in content.items() if key not in words}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

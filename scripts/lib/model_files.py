"""Which files make up a Hugging Face model folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""A Hugging Face tokenizer has at least one of these."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
)
"""All that a Hugging Face tokenizer can consist of, chat templates aside."""

TEMPLATE_FILE = "chat_template.jinja"

CONTROL_TOKENS_FILE = "control_tokens.json"
"""Beside shards: the control tokens that their tokenizer has and the model's has not, with ids."""

WEIGHTS_INDEX = "model.safetensors.index.json"
"""Which of several weight files holds each tensor."""

WEIGHT_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".pkl")
"""Weights in other formats than safetensors; they are not copied, since pickles can run code."""


def quantisation_of(config: Mapping[str, Any]) -> str | None:
    """Return how the weights behind a config.json are quantised, or None."""
    found = config.get("quantization_config")
    if not found:
        return None
    return str(found.get("quant_method")) if isinstance(found, Mapping) else str(found)


def model_file_names(folder: Path) -> list[str]:
    """Return the names of the files of a model folder that belong to the model, sorted.

    Hidden files, weights in other formats, and further formats in sub-folders are left out.
    """
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in WEIGHT_SUFFIXES
    )

"""Which files make up a Hugging Face model folder."""

from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""A Hugging Face tokenizer has at least one of these."""

WEIGHT_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".pkl")
"""Weights in other formats than safetensors; they are not copied, since pickles can run code."""


def model_file_names(folder: Path) -> list[str]:
    """Return the names of the files of a model folder that belong to the model, sorted.

    Hidden files, weights in other formats, and further formats in sub-folders are left out.
    """
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in WEIGHT_SUFFIXES
    )

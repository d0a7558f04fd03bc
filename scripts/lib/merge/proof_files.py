"""What the files of a merged model must be, whatever its weights say."""

import json
from collections.abc import Mapping
from pathlib import Path

from scripts.lib.merge.adapter import GENERATION_CONFIG, largest_token_id, tokenizer_files
from scripts.lib.merge.embeddings import OUTPUT_NAMES, embedding_name, output_name
from scripts.lib.merge.layout import FLOATS
from scripts.lib.merge.proof_checks import Check, make_check
from scripts.lib.merge.proof_stops import check_stops
from scripts.lib.merge.safetensors_files import StoredTensor, read_model


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a model folder by name; none is there twice.

    Raises:
        MergeError: If a file is damaged or two hold the same tensor.
    """
    return {tensor.name: tensor for file in read_model(folder) for tensor in file.tensors}


def check_files(model: Path, adapter: Path, merged: Path) -> list[Check]:
    """Return the checks of names, shapes, vocabulary, carried files and stop tokens."""
    return [
        _check_tensors(model, merged),
        _check_vocabulary(merged),
        _check_tokenizer(adapter, merged),
        *check_stops(model, adapter, merged),
    ]


def is_untied(model: Path, merged: Path) -> bool:
    """Tell whether the output layer of *merged* has left the embedding that it was tied to."""
    before, after = stored_tensors(model), stored_tensors(merged)
    return not output_name(before) and bool(output_name(after))


def _check_tensors(model: Path, merged: Path) -> Check:
    """Names, shapes and dtypes are those of the base, but for embeddings that grew or parted."""
    base, after = stored_tensors(model), stored_tensors(merged)
    config = json.loads((merged / "config.json").read_text())
    wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in base.items()}
    embedding = embedding_name(base)
    if embedding in after:
        rows = after[embedding].rows
        names = {embedding, output_name(base)}
        if not output_name(base) and config.get("tie_word_embeddings") is False:
            names.add(OUTPUT_NAMES[0])
        for name in filter(None, names):
            wanted[name] = ((rows, *base[embedding].shape[1:]), base[embedding].dtype)
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in after.items()}
    odd = sorted(name for name in wanted.keys() | found if wanted.get(name) != found.get(name))
    if odd:
        told = f"{len(odd)} tensors differ in name, shape or dtype, first {odd[0]}"
        return make_check(
            "tensors", False, f"{told}: base {wanted.get(odd[0])}, {found.get(odd[0])}."
        )
    more = f" but for {OUTPUT_NAMES[0]}, which was tied" if len(after) > len(base) else ""
    return make_check(
        "tensors", True, f"{len(after)} tensors, named and shaped as in the base{more}."
    )


def _check_vocabulary(merged: Path) -> Check:
    """Config, tokenizer and output layer agree with the rows of the embedding."""
    tensors = stored_tensors(merged)
    name, output = embedding_name(tensors), output_name(tensors)
    if not name:
        told = "The merged model has no tensor known as embedding."
        return make_check("vocabulary", False, told)
    rows = tensors[name].rows
    config = json.loads((merged / "config.json").read_text())
    size = config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))
    largest = largest_token_id(merged)
    told = f"config.json says {size}, {name} has {rows} rows, the largest token id is {largest}"
    fits = size == rows and largest < rows
    if output:
        told += f", {output} has {tensors[output].rows} rows"
        fits = fits and tensors[output].rows == rows
    return make_check("vocabulary", fits, f"{told}.")


def _check_tokenizer(adapter: Path, merged: Path) -> Check:
    """Tokenizer and chat template are byte for byte the run's."""
    # What the generation config of a run becomes is the business of `check_stops`.
    found = tokenizer_files(adapter)
    sources = {name: file for name, file in found.items() if name != GENERATION_CONFIG}
    wrong = [name for name, file in sources.items() if not _same(file, merged / name)]
    told = f"missing or not the adapter's: {', '.join(wrong) or 'every file'}."
    if sources and not wrong:
        told = f"{len(sources)} files are byte for byte the adapter's."
    return make_check("tokenizer", bool(sources) and not wrong, told)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def main_dtype(tensors: Mapping[str, StoredTensor]) -> str:
    """Return the commonest float dtype of *tensors*, as safetensors names it."""
    found = [tensor.dtype for tensor in tensors.values() if tensor.dtype in FLOATS]
    return str(max(sorted(set(found)), key=found.count))

"""What the files of a merged model must be, whatever its weights say.

Names, shapes and dtypes are the base's, tokenizer and template the adapter's, and the model stops
by itself where scoring stops it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from scripts.lib.data.stops import (
    METADATA,
    STOPS,
    Stops,
    derived_settings,
    find_stops,
    named_stops,
    settings_in,
)
from scripts.lib.errors import MergeError
from scripts.lib.merge.adapter import (
    GENERATION_CONFIG,
    carried_files,
    largest_token_id,
    tokenizer_files,
)
from scripts.lib.merge.embeddings import OUTPUT_NAMES, embedding_name, output_name
from scripts.lib.merge.safetensors_files import FLOATS, StoredTensor, read_model
from scripts.lib.merge.stopping import generation_settings


class Check(TypedDict):
    """One finding of a proof."""

    name: str
    passed: bool
    evidence: str


def make_check(name: str, passed: bool, evidence: str) -> Check:
    """Return a finding."""
    return {"name": name, "passed": passed, "evidence": evidence}


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


def check_stops(model: Path, adapter: Path, merged: Path) -> Iterator[Check]:
    """Yield the checks of the generation config: its settings, its padding, and its stops."""
    before, after = generation_settings(model, adapter), _settings_of(merged)
    yield _check_settings(before, after, _owner(model, adapter))
    try:
        wanted = find_stops(merged, before)
    except MergeError as error:
        yield _check_padding(before, after, ())
        yield make_check("stops", False, str(error))
        return
    yield _check_padding(before, after, wanted.tokens)
    yield _check_same_stops(after, wanted)


def _settings_of(folder: Path) -> dict[str, Any]:
    file = folder / GENERATION_CONFIG
    return settings_in(file) if file.is_file() else derived_settings(folder)


def _owner(model: Path, adapter: Path) -> str:
    files = carried_files(model, adapter)
    if GENERATION_CONFIG not in files:
        return "base's config.json"
    return "adapter" if files[GENERATION_CONFIG].parent == adapter else "base"


def _check_settings(before: Mapping[str, Any], after: Mapping[str, Any], owner: str) -> Check:
    """All that is not a stop is as it was."""
    left = (STOPS, *METADATA)
    keys = [key for key in before.keys() | after.keys() if key not in left]
    odd = sorted(key for key in keys if before.get(key) != after.get(key))
    told = f"all but {STOPS} is that of the {owner}."
    if odd:
        told = f"not as in the {owner}: {', '.join(odd)}."
    return make_check("generation_config", not odd, told)


def _check_padding(
    before: Mapping[str, Any], after: Mapping[str, Any], wanted: tuple[int, ...]
) -> Check:
    """The padding token does not stop the model, unless it did so in the base or in scoring."""
    pad = after.get("pad_token_id")
    stops = pad is not None and pad in named_stops(after)
    known = stops and (pad in named_stops(before) or pad in wanted)
    told = "Padding stops nothing."
    if stops:
        told = f"The padding token is among the stop tokens{', as in scoring' if known else ''}."
    return make_check("stop_tokens", not stops or known, told)


def _check_same_stops(after: Mapping[str, Any], wanted: Stops) -> Check:
    """The model stops by itself at the tokens at which scoring stopped it, and at no other."""
    found = named_stops(after)
    told = f"Stops at {_listed(found)}; scoring stops at {_listed(wanted.tokens)}."
    ends = wanted.ends
    if ends.answer and wanted.end_token is None:
        told += (
            f" The template ends an answer with {ends.answer!r}, which is no token of its"
            " own: no generation config can name it."
        )
    elif ends.answer:
        told += f" The template ends an answer with {ends.answer!r}: {wanted.end_token}."
    if ends.call:
        told += f" It ends a call with {ends.call!r}: {wanted.call_token}."
    return make_check("stops", set(found) == set(wanted.tokens), told)


def _listed(tokens: tuple[int, ...]) -> str:
    return ", ".join(map(str, tokens)) or "no token"


def main_dtype(tensors: Mapping[str, StoredTensor]) -> str:
    """Return the commonest float dtype of *tensors*, as safetensors names it."""
    found = [tensor.dtype for tensor in tensors.values() if tensor.dtype in FLOATS]
    return str(max(sorted(set(found)), key=found.count))

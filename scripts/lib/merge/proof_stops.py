"""That a merged model stops where scoring stops, and is set as its base in all else."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.lib.errors import MergeError
from scripts.lib.merge.adapter import GENERATION_CONFIG, carried_files
from scripts.lib.merge.proof_checks import Check, make_check
from scripts.lib.merge.stopping import (
    METADATA,
    STOPS,
    Stops,
    derived_settings,
    find_stops,
    generation_settings,
    named_stops,
    settings_in,
)


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
    if wanted.end_of_turn and wanted.end_token is None:
        told += (
            f" The template ends an answer with {wanted.end_of_turn!r}, which is no token of its"
            " own: no generation config can name it."
        )
    elif wanted.end_of_turn:
        told += f" The template ends an answer with {wanted.end_of_turn!r}: {wanted.end_token}."
    return make_check("stops", set(found) == set(wanted.tokens), told)


def _listed(tokens: tuple[int, ...]) -> str:
    return ", ".join(map(str, tokens)) or "no token"

"""Where a merged model stops by itself: where it stopped when it was scored.

name_stops(model, adapter, merged)["tokens"]
"""

from pathlib import Path
from typing import Any

from scripts.lib.data.stops import NamedStops, derived_settings, settings_in, write_stops
from scripts.lib.merge.adapter import GENERATION_CONFIG, carried_files


def name_stops(model: Path, adapter: Path, merged: Path) -> NamedStops:
    """Write to a merged model's generation config where scoring stops, if it says less.

    Args:
        model: Folder of the base.
        adapter: Folder of the adapter, with its tokenizer and chat template.
        merged: Folder of the merged model, complete.

    Returns:
        Where it stops; `added` are the tokens that the base's config does not name.

    Raises:
        TemplateError: If the tokenizer cannot be loaded, or its template renders no answer.
    """
    return write_stops(generation_settings(model, adapter), merged)


def generation_settings(model: Path, adapter: Path) -> dict[str, Any]:
    """Return the generation config that a merged model takes over.

    It is the run's own, or the base's; where there is none, what transformers makes of the base's
    config.json.
    """
    files = carried_files(model, adapter)
    if GENERATION_CONFIG in files:
        return settings_in(files[GENERATION_CONFIG])
    return derived_settings(model)

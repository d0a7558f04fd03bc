"""What an error says of a key that the configuration does not know, where other tools know it."""

from collections.abc import Iterable, Sequence

from scripts.lib.config.words import Meaning
from scripts.lib.config.words_of_models import ADAPTERS, DATA, MODELS
from scripts.lib.config.words_of_training import BENCHMARKS, LOGS, LOOP, MACHINES

TABLE = {
    "Models": MODELS,
    "Adapters": ADAPTERS,
    "Rows": DATA,
    "Training": LOOP,
    "Logs, checkpoints, places": LOGS,
    "Machines": MACHINES,
    "Benchmarks": BENCHMARKS,
}
"""What is known of other tools' words, by subject."""


UNNAMED = ("report", "tracking")
"""Sections that hold their keys themselves; entries of all others have names."""


def meanings(word: str, section: object = None) -> list[Meaning]:
    """Return what a word of another tool is here; empty where none is known.

    Args:
        word: As it was written.
        section: The part of the configuration that it stands in: what the word means there comes
            alone, if it means anything there.
    """
    plain = word.lstrip("-").replace("-", "_")
    found = [one for group in TABLE.values() for one in group if plain in one.all_words]
    return [one for one in found if one.section == section] or found


def say_meanings(word: str, path: Sequence[str | int]) -> str:
    """Return what to write for an unknown key, or why nothing; empty where the word is not known.

    Args:
        word: The key; of one with dots, as in a sweep, the last part counts.
        path: Where it stands.
    """
    found = meanings(word.rpartition(".")[2], path[0] if path else None)
    return "; or ".join(dict.fromkeys(_say(one, path) for one in found))


def _say(meaning: Meaning, path: Sequence[str | int]) -> str:
    if meaning.key is None:
        return f"nothing to write here: {meaning.text}"
    told = f": {meaning.text}" if meaning.text else ""
    return f"write `{place(meaning.section, meaning.key, path)}`{told}"


def place(section: str, key: str, path: Sequence[str | int]) -> str:
    """Return where a key of a section stands, seen from *path*: below the same entry, or any."""
    if section in UNNAMED:
        return f"{section}.{key}"
    name = path[1] if len(path) > 1 and path[0] == section else "<name>"
    return key if "sweep" in path else f"{section}.{name}.{key}"


def own_places(word: str, path: Sequence[str | int], keys: Iterable[tuple[str, str]]) -> list[str]:
    """Return where a key of this configuration stands that was written in another place.

    Args:
        word: The key.
        path: Where it stands.
        keys: Sections with the dotted keys of their entries.
    """
    inside = path[0] if path else None
    return [
        place(section, key, path)
        for section, key in dict.fromkeys(keys)
        if inside in (None, section) and (key == word or key.endswith(f".{word}"))
    ]

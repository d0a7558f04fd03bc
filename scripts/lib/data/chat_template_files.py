"""Whether the files of a model folder hold a chat template, told without loading the tokenizer.

Apart from `templates` since every job asks it before its work: what decides bytes must not lie
behind what the digests leave out.
"""

import json
from pathlib import Path
from typing import Any

from scripts.lib.model_files import TEMPLATE_FILE

TOKENIZER_SETTINGS = "tokenizer_config.json"


def has_chat_template(folder: Path) -> bool:
    """Tell whether the tokenizer in *folder* brings a chat template for plain conversations."""
    return bool(chat_template_of(folder))


def chat_template_of(folder: Path) -> str:
    """Return the chat template that the tokenizer in *folder* brings for plain conversations.

    It stands in a file of its own, or in the tokenizer's settings: as text, or as a list of several
    with names, of which `default` counts. An empty one is none.
    """
    file = folder / TEMPLATE_FILE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = folder / TOKENIZER_SETTINGS
    found = read_settings(settings).get("chat_template") if settings.is_file() else None
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else ""


def read_settings(file: Path) -> dict[str, Any]:
    """Return a file of settings; what is no object of JSON has none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # whoever loads the tokenizer says what is wrong with the file
        return {}
    return content if isinstance(content, dict) else {}

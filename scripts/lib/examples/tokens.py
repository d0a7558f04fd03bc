"""The tokens of shards: what each adds to the text, and which of them are control tokens.

Read from the files beside the shards with the library `tokenizers` alone: transformers would load
PyTorch, which takes longer than all the rest.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from scripts.lib.data.templates import load_fast_tokenizer
from scripts.lib.examples.document import TokenRow

TOKENIZER_FILE = "tokenizer.json"
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
_LISTS = ("additional_special_tokens", "extra_special_tokens")


class ShardTokens:
    """What the tokens of shards stand for.

    Args:
        folder: The tokenizer beside the shards.

    Attributes:
        control_ids: Ids of all control tokens.

    Raises:
        TemplateError: If it cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer, self.control_ids = _read(folder) or _load(folder)
        self._tokenizer.post_processor = None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; what reads like a control token counts as one."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def row(self, row: Mapping[str, Any]) -> TokenRow:
        """Return a row of a shard token by token.

        Args:
            row: Its `conversation_id`, `input_ids` and `loss_mask`.
        """
        ids = row["input_ids"]
        return {
            "id": row["conversation_id"],
            "ids": ids,
            "texts": self._texts(ids),
            # The first token of a row is never predicted.
            "trained": [0, *row["loss_mask"][1:]],
            "control": [int(number in self.control_ids) for number in ids],
        }

    def _texts(self, ids: list[int]) -> list[str]:
        """Return what each token adds; nothing inside a character that needs several."""
        stream = DecodeStream(skip_special_tokens=False)
        return [stream.step(self._tokenizer, number) or "" for number in ids]


def _read(folder: Path) -> tuple[Tokenizer, frozenset[int]] | None:
    """Return tokenizer and control tokens, or nothing where the files leave a token open."""
    if not (folder / TOKENIZER_FILE).is_file():
        return None
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    added = tokenizer.get_added_tokens_decoder().items()
    found = {number for number, token in added if token.special}
    for text in _named(folder):
        number = tokenizer.token_to_id(text)
        if number is None:
            return None
        found.add(number)
    return tokenizer, frozenset(found)


def _named(folder: Path) -> Iterator[str]:
    """Yield the control tokens that the settings of a tokenizer name."""
    for name in _SETTINGS:
        if not (folder / name).is_file():
            continue
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        values = [value for key, value in settings.items() if key.endswith("_token")]
        values += [one for key in _LISTS for one in _each(settings.get(key))]
        values += [
            one for one in settings.get("added_tokens_decoder", {}).values() if one.get("special")
        ]
        for value in values:
            text = value.get("content") if isinstance(value, Mapping) else value
            if isinstance(text, str):
                yield text


def _each(tokens: Any) -> list[Any]:
    """Return the tokens of a list, or of a mapping from names."""
    return list(tokens.values()) if isinstance(tokens, Mapping) else list(tokens or [])


def _load(folder: Path) -> tuple[Tokenizer, frozenset[int]]:
    """Do the same through transformers, which knows every form that a tokenizer comes in."""
    loaded = load_fast_tokenizer(folder)
    added = loaded.added_tokens_decoder.items()
    control = frozenset(number for number, token in added if token.special)
    return Tokenizer.from_str(loaded.backend_tokenizer.to_str()), control

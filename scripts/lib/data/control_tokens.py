"""Control tokens that a chat template writes and a tokenizer lacks: finding them, adding them.

A base model's tokenizer reads `<|im_start|>` as a dozen ordinary characters, so that no one token
could end a turn. What the template writes is added, each as one special token, and nothing else of
the vocabulary that the template was made for.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.data.ends import end_token
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.templates import MARKER, Template, load_fast_tokenizer, own_template
from scripts.lib.errors import TemplateError

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
OLD_ADDED_FILE = "added_tokens.json"
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


def written_tokens(template: str) -> list[str]:
    """Return the control tokens that the text of a template names, in order."""
    return list(dict.fromkeys(MARKER.findall(_COMMENT.sub("", template))))


def lacking_tokens(tokenizer: Any, template: Template) -> list[str]:
    """Return the control tokens of a template that are none in a tokenizer.

    Nothing for a template that the tokenizer brings and by which an answer ends with a token of
    its own: what is ordinary text there was so when the model was trained (Zephyr's `<|user|>`).
    """
    if template.text == own_template(tokenizer):
        end = Renderer(tokenizer, template).ends.answer
        if end_token(tokenizer, end) is not None:
            return []
    return [token for token in written_tokens(template.text) if not _is_one(tokenizer, token)]


def _is_one(tokenizer: Any, text: str) -> bool:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    # In some vocabularies one unknown token stands for any text.
    return len(ids) == 1 and tokenizer.convert_ids_to_tokens(ids[0]) == text


def add_tokens(tokenizer: Any, tokens: Sequence[str], folder: Path) -> dict[str, int]:
    """Add control tokens to the files of a tokenizer.

    The ids are those that the library gives: the next ones, or that of an entry which the
    vocabulary holds and never uses. Reserved tokens keep their names.

    Args:
        tokenizer: The tokenizer, loaded; it gets the tokens, too.
        tokens: What to add.
        folder: A copy of its files.

    Returns:
        Token -> id.

    Raises:
        TemplateError: If the files, loaded again, do not hold the tokens.
    """
    from transformers import AddedToken

    before = set(tokenizer.get_vocab().values())
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=True) for text in tokens])
    ids = {text: int(tokenizer.convert_tokens_to_ids(text)) for text in tokens}
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    file = folder / TOKENIZER_FILE
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else backend
    # All of them: settings may name some that the file leaves out, and ids go by their order.
    _write(file, {**stored, "added_tokens": backend["added_tokens"]})
    _extend_lists(folder, [one for one in backend["added_tokens"] if one["content"] in ids])
    again = load_fast_tokenizer(folder)
    if again.get_vocab() != tokenizer.get_vocab() or not all(
        _is_one(again, text) and again.added_tokens_decoder[ids[text]].special for text in tokens
    ):
        raise TemplateError(
            f"the tokenizer in {tokenizer.name_or_path} lacks {', '.join(tokens)}, which the"
            f" template writes, and its files cannot be given them ({len(before):,} tokens,"
            f" {len(again):,} when loaded again); choose a template made for this vocabulary, or"
            " publish the model with a tokenizer.json that has them"
        )
    return ids


def _extend_lists(folder: Path, added: Sequence[dict[str, Any]]) -> None:
    """Name added tokens in the older lists of a tokenizer, where it has them."""
    settings_file, old_file = folder / SETTINGS_FILE, folder / OLD_ADDED_FILE
    if settings_file.is_file():
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        if "added_tokens_decoder" in settings:
            for one in added:
                described = {key: value for key, value in one.items() if key != "id"}
                settings["added_tokens_decoder"][str(one["id"])] = described
            _write(settings_file, settings)
    if old_file.is_file():
        old = json.loads(old_file.read_text(encoding="utf-8"))
        _write(old_file, old | {one["content"]: one["id"] for one in added})


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

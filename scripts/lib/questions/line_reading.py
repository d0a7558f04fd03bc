"""Whether a tokenizer reads the lines of a text one by one, which lets texts share their lines.

Nearly all of a five-shot prompt stands in the prompts beside it, too. Between a line break and an
ASCII letter a text may be cut if its tokens are always those of its two parts. That is so where

- added tokens neither hold a line break nor begin with a letter, so that none reaches across; and
  where one takes the white space behind it along (Phi 3), nothing is written before what follows;
- the normalizer composes characters, or writes spaces in another way: neither concerns the two;
- and either the text is split between the two before the model sees it, by patterns of which none
  matches a line break followed by a letter, which look back at nothing, and to which one letter
  ahead is as good as another; or nothing splits it, the model merges pairs, and no token of its
  vocabulary holds a line break followed by a letter;
- what is added around a text, as a beginning, is the same for every text.

A tokenizer of which this is not known encodes whole texts.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# Patterns of published tokenizers, in the regular expressions of the `tokenizers` library. What
# ByteLevel uses by itself is GPT-2's.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GAPS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_PATTERNS = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "Llama 3": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_GAPS}",
    "Qwen 2": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_GAPS}",
    "Qwen 3.5": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_GAPS}",
    "GPT-4o": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_GAPS}",
    "Mistral NeMo": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_GAPS}",
}
# Pieces between numbers go on over the ends of lines.
_NUMBERS = r"\p{N}{1,3}"
_KNOWN = frozenset([*_PATTERNS.values(), _NUMBERS])

_COMPOSING = {"NFC", "NFD", "NFKC", "NFKD"}

# sentencepiece's sign for a space.
_SPACE = "\u2581"

_ACROSS = re.compile(r"\n[A-Za-z]")
# The same in a token: normalizers may give the letter an accent.
_JOINED = re.compile(r"\n[^\W\d_]")
# A line break as a byte, which is a token of its own, within another token.
_BYTE_ACROSS = re.compile(r"<0x0A>.|.<0x0A>", re.DOTALL)

# A letter that every vocabulary holds.
_PROBE = "a"


def line_starts(text: str) -> Iterator[int]:
    """Yield where a text may be cut: before each letter that follows a line break."""
    return (match.start() + 1 for match in _ACROSS.finditer(text))


def reads_by_lines(tokenizer: Any) -> bool:
    """Return whether the tokens of a text are those of its parts between `line_starts`."""
    if not tokenizer.is_fast:
        return False
    backend = tokenizer.backend_tokenizer
    added = tokenizer.added_tokens_decoder.values()
    if any("\n" in str(token) or re.match("[A-Za-z]", str(token)) for token in added):
        return False
    takes_breaks = any(token.rstrip for token in added)
    if added_around(tokenizer) is None or backend.token_to_id(_PROBE) is None:
        return False
    if getattr(backend.model, "dropout", None):  # no text has the same tokens twice
        return False
    steps = list(_steps(backend.pre_tokenizer, "pretokenizers"))
    normalizers = list(_steps(backend.normalizer, "normalizers"))
    if any(step["type"] in {"ByteLevel", "Digits"} for step in steps):
        return (
            all(map(_reads_as_lines, steps))
            and any(map(_splits_lines, steps))
            and all(step["type"] in _COMPOSING for step in normalizers)
            and not (takes_breaks and any(step.get("add_prefix_space") for step in steps))
        )
    return (
        not takes_breaks
        and all(map(_splits_at_spaces, steps))
        and all(map(_only_writes_spaces, normalizers))
        and _merges_within_lines(backend)
    )


def added_around(tokenizer: Any) -> list[int] | None:
    """Return the tokens that are put before every text; None where more than that is done."""
    plain = tokenizer.encode(_PROBE, add_special_tokens=False)
    whole = tokenizer.encode(_PROBE, add_special_tokens=True)
    before = whole[: len(whole) - len(plain)]
    return list(before) if [*before, *plain] == whole else None


def _steps(component: Any, parts: str) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of a component of a tokenizer, and of those in a sequence."""
    if component is not None:
        settings = json.loads(component.__getstate__())
        yield from settings[parts] if settings["type"] == "Sequence" else [settings]


def _reads_as_lines(step: Mapping[str, Any]) -> bool:
    """Tell whether a step splits a text as it splits its lines."""
    if step["type"] == "Split":
        # Two ways to say that matches and what is between them are pieces.
        kept = (step["behavior"], step["invert"]) in {("Isolated", False), ("Removed", True)}
        return kept and step["pattern"].get("Regex") in _KNOWN
    return step["type"] in {"ByteLevel", "Digits"}


def _splits_lines(step: Mapping[str, Any]) -> bool:
    """Tell whether such a step splits between a line break and a letter."""
    if step["type"] == "Split":
        return bool(step["pattern"].get("Regex") != _NUMBERS)
    return step["type"] == "ByteLevel" and bool(step["use_regex"])


def _splits_at_spaces(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Split":
        return bool(step["pattern"].get("String") == " ")
    return bool(step["type"] == "Metaspace")


def _only_writes_spaces(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Replace":
        return bool(step["pattern"].get("String") == " " and step["content"] == _SPACE)
    return step["type"] in _COMPOSING or step == {"type": "Prepend", "prepend": _SPACE}


def _merges_within_lines(backend: Any) -> bool:
    """Tell whether merging pairs never joins a line break and a letter after it."""
    model = backend.model
    if type(model).__name__ != "BPE" or not model.byte_fallback or model.ignore_merges:
        return False
    tokens = backend.get_vocab(with_added_tokens=False)
    return not any(_JOINED.search(token) or _BYTE_ACROSS.search(token) for token in tokens)

r"""Encode text word by word, each word once: byte-level BPE remembers no more than single words.

Such a tokenizer cuts text before it merges bytes, and no token spans a cut. Its pattern always cuts
before a space behind a printable ASCII character: no alternative has a space but at its start or
within white space, none but white space looks at what follows it, and none looks back. So a text is
its control tokens and the pieces between such places, and its tokens are theirs, one after another.
What the tokenizer makes of a piece is asked of itself, and kept.

Whoever is not known to cut so (`word_cache` is None) encodes texts as wholes; so does one text of
which a piece does not come back byte for byte, since there places do not follow from lengths.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from scripts.lib.data.encoding import Encoded, Span

CACHED_PIECES = 200_000
# What is longer does not come again.
LONGEST_PIECE = 60
_CUT = re.compile(r" (?<=[!-~] )")

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MARKS_TOO = _CL100K.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"\s\p{L}", r"\s\p{L}\p{M}")
PATTERNS = frozenset(
    {
        _GPT2,
        *(
            one.replace("{1,3}", digits)
            for one in (_CL100K, _MARKS_TOO)
            for digits in ("", "{1,3}")
        ),
    }
)
"""Patterns of which the above holds: those of GPT-2, Llama 3, Qwen2 and Qwen3, and Qwen3.5."""

# How byte-level tokenizers spell bytes: those that print as Latin-1 as they are, the others behind.
_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(0x100) if byte not in _PRINTED]
_SPELT = {byte: 0x100 + place for place, byte in enumerate(_OTHERS)}

# What makes BPE depend on more than the bytes of a piece, or on chance.
_OTHERWISE = ("dropout", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")

Piece = bytes | None
"""Three numbers for each token, one after another: its id, the characters from its start to that of
the next, and those that it stands for. None for a piece that does not come back from its tokens."""


class WordCache:
    """Encodes as an `Encoder` does, whole texts with their control tokens.

    Args:
        backend: A tokenizer that `cuts_at_words`, stripped as `Encoder` strips it.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        added = {one.content: number for number, one in backend.get_added_tokens_decoder().items()}
        longest_first = sorted(added, key=lambda text: (-len(text), text))
        self._added = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        self._control = {text: _control(backend, text, number) for text, number in added.items()}
        self._first = _Pieces(self._piece)
        self._behind = _Pieces(lambda words: self._piece(f" {words}"))

    def encode(self, text: str) -> Encoded | None:
        """Return the tokens of a text, or None where it has to be encoded as a whole."""
        pieces: list[Piece] = []
        for at, part in enumerate(self._added.split(text)):
            if at % 2:
                pieces.append(self._control[part])
            elif part:
                first, *others = _CUT.split(part)
                pieces.append(self._first[first])
                pieces += [self._behind[words] for words in others]
        try:
            joined = b"".join(pieces)  # type: ignore[arg-type]  # None is what the error is for
        except TypeError:
            return None
        ids, steps, widths = np.frombuffer(joined, np.int32).reshape(-1, 3).T
        starts = steps.cumsum() - steps
        return Encoded(ids=ids.tolist(), starts=starts.tolist(), ends=(starts + widths).tolist())

    def _piece(self, text: str) -> Piece:
        found = self._backend.encode(text, add_special_tokens=False)
        if "".join(found.tokens) != _spelt(text):
            return None
        return _numbers(found.ids, found.offsets, len(text))


class _Pieces(dict[str, Piece]):
    """What was made of each piece, forgotten when it is too much."""

    def __init__(self, make: Callable[[str], Piece]) -> None:
        self._make = make

    def __missing__(self, text: str) -> Piece:
        made = self._make(text)
        if len(text) <= LONGEST_PIECE:
            if len(self) >= CACHED_PIECES:
                self.clear()
            self[text] = made
        return made


def word_cache(backend: Tokenizer) -> WordCache | None:
    """Return a cache for a tokenizer, or None if it is not known to cut at words."""
    return WordCache(backend) if cuts_at_words(json.loads(backend.to_str())) else None


def cuts_at_words(tokenizer: Mapping[str, Any]) -> bool:
    """Tell whether the content of a tokenizer.json makes of a text what its pieces make."""
    model, added = tokenizer["model"], tokenizer["added_tokens"]
    # NFC composes nothing with a space.
    composed = (tokenizer["normalizer"] or {"type": "NFC"})["type"] == "NFC"
    return (
        composed
        and (tokenizer["decoder"] or {}).get("type") == "ByteLevel"
        and model["type"] == "BPE"
        and not any(model.get(key) for key in _OTHERWISE)
        and not any(one[key] for one in added for key in ("lstrip", "rstrip", "single_word"))
        # Tokens of the one kind are looked for before those of the other.
        and len({one["normalized"] for one in added}) < 2
        and _cut(tokenizer["pre_tokenizer"] or {})
    )


def _cut(pre_tokenizer: Mapping[str, Any]) -> bool:
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    *before, last = steps
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return False
    patterns = [one["pattern"].get("Regex") for one in before if one["type"] == "Split"]
    return (
        all(one["type"] in ("Split", "Digits") for one in before)
        and all(
            one["behavior"] == "Isolated" and not one["invert"]
            for one in before
            if one["type"] == "Split"
        )
        and PATTERNS.issuperset(patterns)
        and bool(patterns or last["use_regex"])
    )


def _control(backend: Tokenizer, text: str, number: int) -> Piece:
    same = backend.decode([number], skip_special_tokens=False) == text
    return _numbers([number], [(0, len(text))], len(text)) if same else None


def _spelt(text: str) -> str:
    """Return the bytes of a text as byte-level tokenizers spell them."""
    return text.encode().decode("latin-1").translate(_SPELT)


def _numbers(ids: Sequence[int], spans: Sequence[Span], length: int) -> Piece:
    starts = [start for start, _ in spans]
    if not starts or starts[0]:
        return None
    nexts = [*starts[1:], length]
    rows = zip(ids, starts, nexts, spans, strict=True)
    numbers = [(number, behind - start, end - start) for number, start, behind, (_, end) in rows]
    return np.array(numbers, np.int32).tobytes()

"""Canonical JSON and the hashes made of it.

A key must not depend on the order of a mapping, on whitespace, or on how a float was written, and
it must refuse what has no stable text: a silent `repr` would give two runs of one spec two keys.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

KEY_DIGITS = 20
"""Hex digits of a key: 80 bits, so that a collision needs about 10^12 artifacts."""


_AS_THEY_ARE = frozenset({bool, int, str, type(None)})


def canonical_json(value: Any) -> str:
    """Return the one JSON text of *value*.

    Args:
        value: Nested mappings with string keys, sequences, strings, booleans, None, integers and
            finite floats.

    Raises:
        TypeError: for any other type.
        ValueError: for a float that is not finite.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any, *, digits: int = KEY_DIGITS) -> str:
    """Return the first *digits* hex digits of the sha256 of *value*'s canonical JSON."""
    return digest_of_text(canonical_json(value), digits=digits)


def digest_of_text(text: str, *, digits: int = KEY_DIGITS) -> str:
    """Return the first *digits* hex digits of the sha256 of *text*."""
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _plain(value: Any) -> Any:
    """Return *value* in JSON's own types."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value!r} has no canonical JSON")
        return value
    if isinstance(value, (dict, Mapping)):  # a plain dict is told much faster
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"keys must be strings: {wrong!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical JSON: {value!r}")

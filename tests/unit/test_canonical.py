"""One JSON text for each value, and no text for what has none."""

import hashlib
import math
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType

import pytest

from scripts.lib.canonical import KEY_DIGITS, canonical_json, digest


def test_the_order_of_keys_does_not_count():
    assert canonical_json({"a": 1, "b": {"c": 2, "d": 3}}) == canonical_json(
        OrderedDict(b=MappingProxyType({"d": 3, "c": 2}), a=1)
    )


def test_the_order_of_items_counts():
    assert canonical_json([1, 2]) != canonical_json([2, 1])


def test_a_tuple_is_a_list():
    assert canonical_json((1, ("a",))) == '[1,["a"]]'


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, True), (1, "1"), (None, "null"), (0.1, 0.1 + 1e-17 + 1e-16), ("", None)],
)
def test_values_that_differ_have_texts_that_differ(one, other):
    assert canonical_json({"x": one}) != canonical_json({"x": other})


def test_one_float_written_two_ways_is_one_value():
    assert canonical_json(2e-4) == canonical_json(0.0002) == "0.0002"


def test_letters_of_every_language_are_kept():
    assert canonical_json("é 한 \n") == '"é 한 \\n"'


@pytest.mark.parametrize("value", [{1}, b"x", Path("x"), object(), {"a": [{"b": {2}}]}])
def test_what_has_no_stable_text_is_refused(value):
    with pytest.raises(TypeError, match="has no canonical JSON"):
        canonical_json(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="has no canonical JSON"):
        canonical_json([value])


def test_a_key_that_is_no_string_is_refused():
    with pytest.raises(TypeError, match="keys must be strings"):
        canonical_json({1: "a"})


def test_a_digest_is_the_head_of_a_sha256():
    expected = hashlib.sha256(b'{"a":1}').hexdigest()
    assert digest({"a": 1}) == expected[:20]
    assert len(digest({"a": 1})) == KEY_DIGITS
    assert digest({"a": 1}, digits=64) == expected

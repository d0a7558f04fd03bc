"""One run with a `sweep` or `seeds` becomes the runs of a grid, each under a readable name."""

import itertools
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from scripts.lib.config.mixtures import setting_of, split_key, written_out

GRID_LIMIT = 1000  # runs; a grid beyond it is a slip of the hand, and would take minutes to plan

SHORT_KEYS = {
    "learning_rate": "lr",
    "batch_size": "batch",
    "max_length_tokens": "length",
    "weight_decay": "decay",
    "warmup_ratio": "warmup",
    "max_steps": "steps",
}

Settings = Mapping[str, Any]


def grid_size(sweep: Mapping[str, Sequence[object]]) -> int:
    """Return how many runs a sweep makes."""
    size = 1
    for values in sweep.values():
        size *= len(values)
    return size


def grid_points(sweep: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    """Return every combination of a sweep's values; the last key varies fastest."""
    return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]


def at_point(run: Settings, point: Mapping[str, object]) -> dict[str, Any]:
    """Return the settings of *run* with the values of *point*, and without its sweep and seeds.

    Args:
        run: The run as written.
        point: Values by dotted key. A value wins over what the run says itself.

    Returns:
        New mappings throughout; *run* stays as it is.
    """
    settings = {key: value for key, value in run.items() if key not in ("sweep", "seeds")}
    for key, value in point.items():
        if setting_of(key):
            settings = written_out(settings)
        settings = _with_value(settings, split_key(key), value)
    return settings


def _with_value(settings: Settings, parts: Sequence[str], value: object) -> dict[str, Any]:
    first, *rest = parts
    if not rest:
        return {**settings, first: value}
    below = settings.get(first, {})
    if not isinstance(below, Mapping):
        return dict(settings)  # not a group: the schema's own error says so
    return {**settings, first: _with_value(below, rest, value)}


def point_name(run: str, point: Mapping[str, object]) -> str:
    """Return the name of one run of a grid.

    Args:
        run: Name of the run with the sweep.
        point: Checked values by dotted key, in the order of the sweep.

    Returns:
        For example "grid-r8-lr2e-4-packing_on": numbers follow their key at once, words after `_`.
        A weight follows the name of its dataset.
    """
    parts = [run]
    for key, value in point.items():
        leaf = key.rpartition(".")[2]
        leaf = SHORT_KEYS.get(leaf, leaf)
        if member := setting_of(key):
            dataset, option = member
            leaf = dataset if option == "weight" else f"{dataset}.{option}"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        parts.append(f"{leaf}{'' if is_number else '_'}{value_text(value)}")
    return "-".join(parts)


def value_text(value: object) -> str:
    """Return a value as it stands in a name: the shortest text, of the characters of names."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return _float_text(value)
    text = re.sub(r"[^a-z0-9._]+", "-", str(value).lower())
    return re.sub(r"\.\.+", ".", text).strip("-.")


def _float_text(value: float) -> str:
    """Return the shorter of the plain and the scientific form, exactly the float's value."""
    exact = Decimal(repr(value)).normalize()
    sign, digits, exponent = exact.as_tuple()
    plain = f"{exact:f}"
    lead, *rest = (str(digit) for digit in digits)
    power = int(exponent) + len(digits) - 1
    scientific = f"{'-' if sign else ''}{lead}{'.' if rest else ''}{''.join(rest)}e{power}"
    return min(plain, scientific, key=len)

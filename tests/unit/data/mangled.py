"""Rows of every kind that is known, mangled at random: what people bring when all goes wrong."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

_CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
SEEDS: tuple[Any, ...] = (
    {
        "messages": [
            {"role": "system", "content": "Be."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "", "tool_calls": [_CALL, _CALL], "weight": 0},
            {"role": "tool", "tool_call_id": "abcdefghi", "name": "f", "content": {"c": 12}},
            {"role": "assistant", "content": "Ho", "reasoning_content": "hm", "train": True},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": None}}}],
        "chat_template_kwargs": {"enable_thinking": False},
    },
    {
        "conversations": [
            {"from": "human", "value": "Hi {{name}}"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": [1]}}'},
            {"from": "observation", "value": "12"},
            {"from": "gpt", "value": "<think>\nhm\n</think>\n\nHo"},
        ],
        "tools": '[{"name": "f"}]',
        "loss_mask": [0, 1, 0, 1],
    },
    {"instruction": "Hi", "input": "1+1", "output": "2", "history": [["a", "b"]], "label": True},
    {"prompt": "Hi", "completion": "Ho", "images": [], "score": 0.5},
    {
        "prompt": [{"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}],
    },
    {
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "f", "arguments": "{}"},
            },
            {"role": "function", "name": "f", "content": "1"},
            {"role": "assistant", "content": "Ho", "loss": False},
        ],
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
    },
    {"prompt": "Hi", "chosen": [{"role": "assistant", "content": "A"}], "rejected": "B"},
)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 10**30, float("nan"), float("inf"), "", " ", "null", "{"),
    *("[]", "\ud83d", "\x00", "<image>", "<think>", "</think>", "{{name}}", "user", "GPT", "npc"),
    *([], {}, [None], [[]], {"": ""}, {"type": "image"}, {"type": None}, ["a"], {"role": 1}),
    *('[{"role": "user", "content": "x"}]', '{"name": 3}', {"function": "f"}, {"name": ""}),
)
_KEYS = (
    *("role", "from", "content", "value", "text", "reasoning", "thinking", "weight", "train"),
    *("tool_calls", "function_call", "name", "arguments", "type", "function", "tools", "label"),
    *("loss_mask", "chosen", "rejected", "images", "system", "messages", "prompt", "output", "x"),
)


def mangled_rows(seed: int, count: int) -> Iterator[Any]:
    """Yield rows, each mangled in one to four places."""
    chance = random.Random(seed)
    for number in range(count):
        row = json.loads(json.dumps(chance.choice(SEEDS)).replace("Hi", f"Hi {number}"))
        for _ in range(chance.randint(1, 4)):
            row = _mangled(row, chance)
        yield row


def _mangled(row: Any, chance: random.Random) -> Any:
    places = [(None, None), *_places(row)]
    parent, key = chance.choice(places)
    if parent is None:
        return deepcopy(chance.choice(_ODD)) if chance.random() < 0.05 else row
    value = parent[key]
    match chance.randrange(7):
        case 0 | 1:
            parent[key] = deepcopy(chance.choice(_ODD))
        case 2:
            del parent[key]
        case 3:
            parent[key] = json.dumps(value)
        case 4:
            parent[key] = [value, value]
        case 5 if isinstance(parent, dict):
            parent[chance.choice(_KEYS)] = parent.pop(key)
        case _ if isinstance(parent, dict):
            parent[chance.choice(_KEYS)] = deepcopy(chance.choice(_ODD))
        case _:
            parent.append(value)
    return row


def _places(value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found += [(value, key), *_places(value[key])]
    return found

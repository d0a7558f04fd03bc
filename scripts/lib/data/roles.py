"""Who speaks in a turn: the spellings of roles that are known, whatever key they stand under."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

from scripts.lib.data.conversation import Role
from scripts.lib.data.records import UnusableRow

Speaker = Role | Literal["call"]
"""A role; `call` is a turn of the assistant whose text is nothing but the tool calls."""

SPELLINGS: Mapping[Speaker, tuple[str, ...]] = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": (
        *("assistant", "model", "gpt", "chatgpt", "bot", "chatbot", "ai", "llm"),
        *("bing", "bard"),  # speakers of published ShareGPT dumps
    ),
    "tool": (
        *("tool", "function", "observation", "ipython"),
        *("function_response", "tool_response", "function_result", "tool_result"),
    ),
    "call": ("function_call", "tool_call", "tool_calls"),
}
"""Case does not count, nor do signs around a name (`<|user|>`), nor `-` and spaces for `_`."""

_SPEAKERS = {name: speaker for speaker, names in SPELLINGS.items() for name in names}
SHOWN_CHARACTERS = 60


class NamedFault(UnusableRow):
    """A row is unusable for something in it that has a name, by which it is counted too.

    Attributes:
        names: The roles that are not known, or whatever else the reason is about.
    """

    def __init__(self, reason: str, detail: str, names: tuple[str, ...]) -> None:
        super().__init__(reason, detail)
        self.names = tuple(
            name[:SHOWN_CHARACTERS].encode("ascii", "backslashreplace").decode() for name in names
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.detail, self.names)


def speaker_of(value: object) -> Speaker:
    """Return who speaks.

    Args:
        value: As the row spells it. Example: `Human`, `<|assistant|>`, `FUNCTION RESPONSE`.

    Raises:
        NamedFault: The spelling is not known; with the nearest that is.
    """
    if isinstance(value, str) and value in _SPEAKERS:
        return _SPEAKERS[value]
    name = re.sub(r"^\W+|\W+$", "", str(value)).casefold()
    name = re.sub(r"[\s-]+", "_", name)
    if isinstance(value, str) and name in _SPEAKERS:
        return _SPEAKERS[name]
    near = difflib.get_close_matches(name[:SHOWN_CHARACTERS], _SPEAKERS, n=1)
    hint = f"the nearest that is: {near[0]}" if near else f"known are {', '.join(_SPEAKERS)}"
    raise NamedFault(
        "unknown_role",
        f"the role {str(value)[:SHOWN_CHARACTERS]!r} is not known; {hint}",
        (str(value),),
    )

r"""Placeholders such as `{{name}}`, as published rows of an assistant's identity hold them.

Those that the config gives are filled, wherever they stand. One that is left is refused if it is
likely meant as one: a word of two letters or more in doubled braces, without spaces, outside of
code. Jinja's `{{ user }}` and `{{user.name}}`, LaTeX's `\frac{{ab}}{{cd}}` and `x_{{ij}}`,
Mustache's `{{#each}}` and whatever stands between backticks are text like any other. Where such a
word is meant as it stands, it is given as its own filling: `name: "{{name}}"`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.roles import NamedFault

_CODE = re.compile(r"(```|~~~).*?(?:\1|\Z)|(`+)[^`].*?\2", re.DOTALL)
# Braces behind a command, an index or a brace are LaTeX's or another program's.
_LIKELY = re.compile(
    r"(?:\\[A-Za-z]+|(?<=[\w)\]}])[_^]|[${}])(?:\{\{\w+\}\})+|\{\{([A-Za-z_]\w+)\}\}(?!\})"
)


def filled(conversation: Conversation, fillings: Mapping[str, str]) -> Conversation:
    """Return a conversation with its placeholders filled, and refuse one that has others.

    Args:
        conversation: The turns.
        fillings: Name -> what stands for `{{name}}`, in every turn and call.

    Raises:
        NamedFault: If a placeholder has no filling.
    """
    unfilled = {
        name
        for message in conversation.messages
        if message.role != "tool"
        for text in (message.content, message.reasoning or "")
        for name in placeholders_in(text)
        if name not in fillings
    }
    if unfilled:
        names = tuple(sorted(unfilled))
        given = ", ".join(f"{name}: ..." for name in names)
        raise NamedFault(
            "unfilled_placeholder",
            f"{', '.join(f'{{{{{name}}}}}' for name in names)} stands in a turn; give the dataset"
            f" `placeholders: {{{given}}}`, a name as its own filling if it is meant so",
            names,
        )
    if not fillings:
        return conversation
    words = re.compile(r"\{\{\s*(" + "|".join(map(re.escape, fillings)) + r")\s*\}\}")
    fill = _everywhere(lambda text: words.sub(lambda found: fillings[found[1]], text))
    messages = tuple(_filled_turn(message, fill) for message in conversation.messages)
    return replace(conversation, messages=messages)


def placeholders_in(text: str) -> list[str]:
    """Return the names of what is likely meant as a placeholder.

    Args:
        text: A turn. Example: "I am {{name}}, by {{author}}." has `name` and `author`.
    """
    if "{{" not in text:
        return []
    return [name for name in _LIKELY.findall(_CODE.sub(" ", text)) if name]


def _filled_turn(message: Message, fill: Callable[[Any], Any]) -> Message:
    return replace(
        message,
        content=fill(message.content),
        reasoning=fill(message.reasoning),
        tool_calls=tuple(map(fill, message.tool_calls)),
    )


def _everywhere(fill: Callable[[str], str]) -> Callable[[Any], Any]:
    """Return what fills every text of a JSON value, keys aside."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return fill(value)
        if isinstance(value, Mapping):
            return {key: filled(cell) for key, cell in value.items()}
        return [filled(item) for item in value] if isinstance(value, list) else value

    return filled

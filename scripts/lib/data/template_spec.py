"""A chat template as specs hold it: by a word, or by its text."""

from collections.abc import Mapping
from typing import TypeAlias

TemplateSpec: TypeAlias = str | Mapping[str, str]
"""`tokenizer`, `chatml`, or name and text: so that a file counts by what is in it."""

OWN = "tokenizer"
"""The tokenizer's own."""


def given(template: TemplateSpec) -> dict[str, TemplateSpec]:
    """Return what a spec says of a model's template: nothing where it is the tokenizer's own.

    A model without `template` so keeps the keys of what is made with it.
    """
    return {} if template == OWN else {"template": template}

"""Conversations as the exact texts that a model is asked, with nothing but its tokenizer."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import TemplateError as JinjaError
from transformers import AutoTokenizer

from scripts.lib.data.templates import (
    OWN,
    TemplateSpec,
    own_template,
    resolve_template,
    with_fixed_date,
)
from scripts.lib.errors import ScoreError
from scripts.lib.questions.rows import Turn


def load_tokenizer(
    model: Path, *, chat_template: bool, optional: bool = True, template: TemplateSpec = OWN
) -> Any:
    """Load the tokenizer of a model folder and see to it that the asked template exists.

    Args:
        model: The folder.
        chat_template: Whether a template is asked for.
        optional: Whether the benchmark could do without.
        template: The one to give the tokenizer, or `tokenizer` for what it brings.

    Raises:
        ScoreError: `chat_template` is asked for and there is none.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
    if template != OWN:
        tokenizer.chat_template = resolve_template(template, tokenizer).text
    if chat_template and not own_template(tokenizer):
        why = "`chat_template: true` asks for it" if optional else "its answers are those of a chat"
        remedy = "set it to false for" if optional else "drop"
        raise ScoreError(
            f"The model in {model} has no chat template, but {why}. Give it one in the"
            " configuration, `models.NAME.template`: chatml, or the path of a .jinja file; or"
            f" {remedy} this benchmark."
        )
    return tokenizer


def render(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    arguments: Mapping[str, Any] = MappingProxyType({}),
    *,
    add_generation_prompt: bool = True,
) -> str:
    """Return a conversation as text.

    Args:
        tokenizer: Its template is used.
        messages: The turns.
        arguments: What the template is given beside them.
        add_generation_prompt: Whether the text ends where the assistant's next turn begins; else
            within its last turn, which the model goes on with.

    Raises:
        ScoreError: The template refuses the conversation.
    """
    own = tokenizer.chat_template
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages),
                # Base and tuned model may be asked on different days.
                chat_template=with_fixed_date(own) if isinstance(own, str) else None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **arguments,
            )
        )
    except JinjaError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ScoreError(
            f"The chat template refuses a conversation of the turns {roles}: {error}. "
            "Change the question's turns, or set `chat_template: false`."
        ) from error


def chat_renderer(
    tokenizer: Any, arguments: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., str]:
    """Return the renderer that lm-eval's `hf` model would bring.

    Like that one it leaves the first line of the prompt out when the template knows no system
    turn, and unlike that one it says so on stderr.

    Args:
        tokenizer: Its template is used.
        arguments: What the template is given beside the turns.
    """
    told = False

    ask = functools.partial(render, tokenizer, arguments=arguments)

    def chat(messages: list[Turn], *, add_generation_prompt: bool = True) -> str:
        nonlocal told
        try:
            return ask(messages, add_generation_prompt=add_generation_prompt)
        except ScoreError:
            turns = [message for message in messages if message["role"] != "system"]
            if len(turns) == len(messages):
                raise
            text = ask(turns, add_generation_prompt=add_generation_prompt)
        if not told:
            told = True
            print("The template has no system turn: asking without it.", file=sys.stderr)
        return text

    return chat

"""Conversations as the exact texts that a model is asked, with nothing but its tokenizer."""

import functools
import sys
from collections.abc import Mapping, Sequence
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
from scripts.lib.questions.closed_thoughts import closing, opened_tag
from scripts.lib.questions.rows import Turn

# Words that no template changes, by which one is tried out.
_ANSWER = "tunesmith1"


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


class Chat:
    """Renders conversations as lm-eval's `hf` model would.

    Like that one it leaves the first line of the prompt out when the template knows no system
    turn, and unlike that one it says so on stderr. Where texts are scored right behind a prompt, it
    closes a thought that the template opens there.

    Args:
        tokenizer: Its template is used.
        arguments: What the template is given beside the turns.
        closes_thoughts: Whether texts are scored right behind its prompts.
    """

    def __init__(
        self,
        tokenizer: Any,
        arguments: Mapping[str, Any] = MappingProxyType({}),
        *,
        closes_thoughts: bool = False,
    ) -> None:
        self._ask = functools.partial(render, tokenizer, arguments=arguments)
        self._closes_thoughts = closes_thoughts
        self._closings: dict[str, str] = {}
        self._told = False

    def __call__(self, messages: Sequence[Turn], *, add_generation_prompt: bool = True) -> str:
        """Return a conversation as text; the arguments are those of `render`."""
        turns = list(messages)
        try:
            text = self._ask(turns, add_generation_prompt=add_generation_prompt)
        except ScoreError:
            turns = [message for message in messages if message["role"] != "system"]
            if len(turns) == len(messages):
                raise
            text = self._ask(turns, add_generation_prompt=add_generation_prompt)
            self._tell()
        if self._closes_thoughts and add_generation_prompt and opened_tag(text):
            return text + self._closing(turns, text)
        return text

    def closed(self, prompt: str) -> str:
        """Return what was put behind a prompt to close its thought; nothing where it opens none."""
        found = (end for tag, end in self._closings.items() if end and prompt.endswith(tag + end))
        return next(found, "")

    def _closing(self, turns: Sequence[Turn], prompt: str) -> str:
        """Return what closes a prompt; it is found once for each way in which prompts end."""
        tag = opened_tag(prompt)
        if tag not in self._closings:
            answered = [*turns, {"role": "assistant", "content": _ANSWER}]
            try:
                text = self._ask(answered, add_generation_prompt=False)
            except (ScoreError, ValueError):  # the template refuses, or leaves the answer out
                before = None
            else:
                before = text.removesuffix(_ANSWER)
            self._closings[tag] = closing(prompt, before)
        return self._closings[tag]

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            print("The template has no system turn: asking without it.", file=sys.stderr)

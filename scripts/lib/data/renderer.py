"""Rendering conversations with a chat template.

Templates are untrusted code from model repositories; they run in the sandbox of transformers.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

from scripts.lib.data.conversation import PLAIN_FORM, REASONING_KEYS, Conversation, TurnForm
from scripts.lib.data.ends import (
    ANSWERING,
    ARGUMENT,
    TOOLS,
    AnswerEnds,
    ControlTokens,
    calling,
    find_ends,
)
from scripts.lib.data.reasoning import CLOSE, handed_over
from scripts.lib.data.templates import Template, with_fixed_date
from scripts.lib.errors import TemplateError

# Words that no template changes, by which one is tried out.
_REASONED = "tunesmith2"


class Renderer:
    """Renders conversations with one template.

    Args:
        tokenizer: Gives the template its special tokens and its sandbox.
        template: The template.

    Attributes:
        tokenizer: As given.
        template: As given.
        control: The tokenizer's control tokens in text.
        knows_reasoning: Whether the template writes or cuts reasoning.
    """

    def __init__(self, tokenizer: Any, template: Template) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._runnable = with_fixed_date(template.text)
        self.control = ControlTokens(tokenizer)

    @cached_property
    def form(self) -> TurnForm:
        """In which form the template takes reasoning and calls, found by trying."""
        found = PLAIN_FORM
        tried = self._tried(_reasoning(ANSWERING))
        for form in (found, replace(found, arguments="text")):
            whole = {"key": ARGUMENT}
            given = whole if form.arguments == "object" else json.dumps(whole)
            text = self._tried(_reasoning(calling(given)), TOOLS)
            if ARGUMENT in text:
                # Some (Gemma 4's first) write reasoning only beside calls.
                found, tried = form, tried + text
                break
        if _REASONED in tried:
            return found
        return replace(found, reasoning="content" if self.knows_tags else "unknown")

    @cached_property
    def knows_reasoning(self) -> bool:
        """Whether the template writes or cuts reasoning."""
        return self.form.reasoning != "unknown"

    @cached_property
    def ends(self) -> AnswerEnds:
        """With what the template ends answers and calls."""
        return find_ends(self.control, self._tried)

    @cached_property
    def _write(self) -> Callable[..., str]:
        """What the tokenizer calls to write turns, once it has copied them and all else given.

        It copies so that a template sees plain values only, which rows from JSON are, under one
        name for reasoning, which `render` leaves to it.
        """
        from transformers.utils.chat_template_utils import _compile_jinja_template

        template = _compile_jinja_template(self._runnable)
        # Jinja copies them for each rendering, which takes longest of a chain of mappings.
        template.globals = dict(template.globals)
        render: Callable[..., str] = template.render
        return partial(render, documents=None, **self.tokenizer.special_tokens_map)

    @property
    def knows_tags(self) -> bool:
        """Whether the template writes or cuts reasoning between `<think>` and `</think>`."""
        return CLOSE in self.template.text

    def start_of_answer(self, prompt: str) -> str:
        """Return the last control token of a prompt with what stands behind it."""
        token, end = [("", 0), *self.control.in_text(prompt)][-1]
        return token + prompt[end:]

    def continuation(self, prompt: str, text: str) -> str | None:
        """Return what *text* has behind the start of its last answer, if that start is *prompt*'s.

        Some templates (Mistral's) write the system text or the tools only where a question is the
        last turn. Then the two differ before the answer in what stands between the same control
        tokens, and the answer is what follows the last of them.
        """
        tokens = self.control.in_text(prompt)
        same = self.control.in_text(text)[: len(tokens)]
        if not tokens or [token for token, _ in tokens] != [token for token, _ in same]:
            return None
        tail, rest = prompt[tokens[-1][1] :], text[same[-1][1] :]
        return rest[len(tail) :] if rest.startswith(tail) else None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        arguments: Mapping[str, Any] = MappingProxyType({}),
        generation_prompt: bool = False,
    ) -> str:
        """Return the text of some turns.

        Args:
            messages: Turns as templates expect them.
            tools: Tool schemas; none gives the template no tools at all.
            arguments: What the template is given beside them.
            generation_prompt: End with the start of an answer.

        Raises:
            TemplateError: If the template refuses the turns.
        """
        if messages and not any(key in message for message in messages for key in REASONING_KEYS):
            with suppress(Exception):  # the tokenizer itself says below what is wrong
                return self._write(
                    messages=list(messages),
                    tools=list(tools) or None,
                    add_generation_prompt=generation_prompt,
                    **arguments,
                )
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) or None,
                chat_template=self._runnable,
                add_generation_prompt=generation_prompt,
                tokenize=False,
                **arguments,
            )
        except Exception as error:  # a template is a program: it can fail in any way
            raise TemplateError(
                f"the chat template ({self.template.source}) fails on the roles"
                f" {[message['role'] for message in messages]}: {error}; choose another `template`"
            ) from error
        return text

    def text(self, conversation: Conversation, *, generation_prompt: bool = False) -> str:
        """Return the text of a whole conversation, earlier turns with their reasoning in place.

        The last turn is handed over as it is; what is asked of it is said in `turns`.
        """
        form = self.form
        *before, last = conversation.messages
        turns = [handed_over(message, form) for message in before]
        turns.append(handed_over(last, form) if generation_prompt else last)
        return self.render(
            [message.for_template(form) for message in turns],
            conversation.tools,
            arguments=conversation.template_arguments,
            generation_prompt=generation_prompt,
        )

    def _tried(
        self, turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """Return the text of probing turns, or nothing where the template refuses them."""
        try:
            return self.render(turns, tools)
        except TemplateError:
            return ""


def _reasoning(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return turns of which the last has reasoning, under every key for it."""
    return [*turns[:-1], {**turns[-1], **dict.fromkeys(REASONING_KEYS, _REASONED)}]

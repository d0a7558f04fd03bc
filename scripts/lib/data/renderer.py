"""Rendering conversations with a chat template.

Templates are untrusted code from model repositories; they run in the sandbox of transformers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from scripts.lib.data.conversation import Conversation, Message, TurnForm
from scripts.lib.data.reasoning import CLOSE, handed_over
from scripts.lib.data.templates import Template, with_fixed_date
from scripts.lib.errors import TemplateError

# Words that no template changes, by which one is tried out.
_PROBE = "tunesmith1"
_REASONED = "tunesmith2"
_ARGUMENT = "tunesmith3"
_PROBES = (
    Message(role="user", content="?"),
    Message(role="assistant", content=_PROBE, reasoning=_REASONED),
)
_CALLING = (
    Message(role="user", content="?"),
    Message(
        role="assistant",
        content="",
        tool_calls=(
            {
                "type": "function",
                "id": "abcdefghi",  # Mistral's templates ask for nine letters
                "function": {"name": "probe", "arguments": {"key": _ARGUMENT}},
            },
        ),
    ),
)
_TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "probe",
            "description": "?",
            "parameters": {
                "type": "object",
                "properties": {"key": {"type": "string", "description": "?"}},
                "required": ["key"],
            },
        },
    },
)


class Renderer:
    """Renders conversations with one template.

    Args:
        tokenizer: Gives the template its special tokens and its sandbox.
        template: The template.

    Attributes:
        tokenizer: As given.
        template: As given.
        knows_reasoning: Whether the template writes or cuts reasoning.
    """

    def __init__(self, tokenizer: Any, template: Template) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._runnable = with_fixed_date(template.text)
        special = [
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        ]
        longest_first = sorted(special, key=lambda text: (-len(text), text))
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @cached_property
    def form(self) -> TurnForm:
        """In which form the template takes reasoning and calls, found by trying."""
        found = TurnForm(reasoning="keys")
        if _REASONED not in self._tried(_PROBES, found):
            found = replace(found, reasoning="content" if self._cuts_reasoning else "unknown")
        as_text = replace(found, arguments="text")
        if _ARGUMENT in self._tried(_CALLING, found, _TOOLS):
            return found
        return as_text if _ARGUMENT in self._tried(_CALLING, as_text, _TOOLS) else found

    @cached_property
    def knows_reasoning(self) -> bool:
        """Whether the template writes or cuts reasoning."""
        return self.form.reasoning != "unknown"

    @cached_property
    def answer_end(self) -> str:
        """The control token with which a plain answer ends, or ''."""
        text = self._tried(_PROBES, TurnForm(reasoning="unknown"))
        ends = self.control_ends(text, text.rfind(_PROBE) + len(_PROBE))
        return ends[0][0] if ends else ""

    @property
    def _cuts_reasoning(self) -> bool:
        return CLOSE in self.template.text

    def control_ends(self, text: str, start: int) -> list[tuple[str, int]]:
        """Return the control tokens that end a text and nothing but white space between them.

        Args:
            text: A rendering.
            start: What stands before this character is not looked at.

        Returns:
            Each with the place where it ends, in order.
        """
        ends: list[tuple[str, int]] = []
        place = len(text.rstrip())
        for found in reversed(list(self._control.finditer(text, start))):
            if text[found.end() : place].strip():
                break
            ends.insert(0, (found.group(), found.end()))
            place = found.start()
        return ends

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
        self, messages: Sequence[Message], form: TurnForm, tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """Return the text of probing turns, or nothing where the template refuses them."""
        try:
            return self.render([message.for_template(form) for message in messages], tools)
        except TemplateError:
            return ""

"""Chat templates: which one is meant, and rendering a conversation with it.

Templates are untrusted code from model repositories; they run in the sandbox of transformers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.template_spec import TemplateSpec
from scripts.lib.errors import TemplateError

# ChatML (https://github.com/openai/openai-python/blob/v0.28.1/chatml.md) without a default system
# turn. Tools are announced in the system turn and called in <tool_call> tags, as Hermes and Qwen2.5
# models do; answers of tools have turns of their own, so that every turn is a prefix of the next.
CHATML = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- 'These functions can be called; each line describes one:\\n<tools>\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson + '\\n' }}
    {%- endfor %}
    {{- '</tools>\\nA call is one JSON object with name and arguments between <tool_call> and ' }}
    {{- '</tool_call>.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (tools and loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- if message.content or not loop.first %}{{- '\\n' }}{% endif %}
            {{- '<tool_call>\\n{"name": ' + call.function.name | tojson + ', "arguments": ' }}
            {{- call.function.arguments | tojson + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

# Some templates (Llama 3.2) print today's date. Shards must not change overnight, so the date is
# the one that Llama 3.1's template falls back to.
TEMPLATE_DATE = datetime(2024, 7, 26)
DATE_CODES = "aAbBdmyYHIMSpj"


@dataclass(frozen=True, kw_only=True)
class Template:
    """A chat template and where it comes from.

    Attributes:
        source: `tokenizer`, `chatml` or `custom:<name>`.
        text: The Jinja text.
    """

    source: str
    text: str

    @property
    def sha256(self) -> str:
        """Return the hex digest of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer in *folder*; no code of the repository is run.

    Raises:
        TemplateError: If there is none, or it cannot tell where its tokens stand in the text.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise TemplateError(f"{folder} holds no tokenizer that can be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise TemplateError(
            f"{folder}: the tokenizer has no tokenizer.json, so tokens cannot be placed in the"
            " text; convert it to a fast tokenizer and publish that with the model"
        )
    return tokenizer


def resolve_template(choice: TemplateSpec, tokenizer: Any) -> Template:
    """Return the template that a spec means.

    Args:
        choice: `tokenizer`, `chatml`, or `{"name", "text"}`.
        tokenizer: The model's tokenizer.

    Raises:
        TemplateError: If the tokenizer's own is meant and it has none.
    """
    if isinstance(choice, Mapping):
        return Template(source=f"custom:{choice['name']}", text=choice["text"])
    if choice == "chatml":
        return Template(source="chatml", text=CHATML)
    own = own_template(tokenizer)
    if not own:
        raise TemplateError(
            f"the tokenizer in {tokenizer.name_or_path} has no chat template; choose"
            " `template: chatml` or the path of a .jinja file, for the model or for the run"
        )
    return Template(source="tokenizer", text=own)


def own_template(tokenizer: Any) -> str:
    """Return the chat template that a tokenizer brings for plain conversations, or nothing."""
    own = tokenizer.chat_template
    if isinstance(own, Mapping):
        own = own.get("default")
    return own if isinstance(own, str) else ""


class Renderer:
    """Renders conversations with one template.

    Args:
        tokenizer: Gives the template its special tokens and its sandbox.
        template: The template.

    Attributes:
        tokenizer: As given.
        template: As given.
    """

    def __init__(self, tokenizer: Any, template: Template) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._runnable = with_fixed_date(template.text)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        generation_prompt: bool = False,
    ) -> str:
        """Return the text of some turns.

        Args:
            messages: Turns as templates expect them.
            tools: Tool schemas; none gives the template no tools at all.
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
            )
        except Exception as error:  # a template is a program: it can fail in any way
            raise TemplateError(
                f"the chat template ({self.template.source}) fails on the roles"
                f" {[message['role'] for message in messages]}: {error}; choose another `template`"
            ) from error
        return text

    def text(self, conversation: Conversation) -> str:
        """Return the text of a whole conversation."""
        return self.render(for_template(conversation.messages), conversation.tools)


def for_template(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return turns as templates expect them."""
    return [message.for_template() for message in messages]


def with_fixed_date(template: str) -> str:
    """Return a template that prints the same date every day, if it prints one."""
    return _fixed_date() + template if "strftime_now" in template else template


def _fixed_date() -> str:
    """Return a macro that hides the template function of the same name.

    The final line break is eaten by the sandbox's `trim_blocks`, so that nothing is printed.
    """
    body = "format"
    for code in DATE_CODES:
        body += f" | replace('%{code}', '{TEMPLATE_DATE.strftime('%' + code)}')"
    return f"{{%- macro strftime_now(format) %}}{{{{ {body} }}}}{{% endmacro %}}\n"

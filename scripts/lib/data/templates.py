"""Chat templates: which one is meant, and what its text is.

Templates are untrusted code from model repositories; they run in the sandbox of transformers.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeGuard, assert_never, get_args

from scripts.lib.errors import TemplateError

TemplateName = Literal["tokenizer", "chatml", "trl"]
"""The templates that go by a name: the tokenizer's own, ChatML, and TRL's for training."""

TEMPLATE_NAMES: tuple[TemplateName, ...] = get_args(TemplateName)
OWN: TemplateName = "tokenizer"
TRL: TemplateName = "trl"

TemplateSpec: TypeAlias = TemplateName | Mapping[str, str]
"""One that goes by a name, or name and text: so that a file counts by what is in it."""

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

_TURNS = ({"role": "user", "content": "?"}, {"role": "assistant", "content": "!"})
# How templates spell control tokens: ChatML and Llama 3, DeepSeek, Llama 2, Gemma.
MARKER = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn)>"
)


def is_named(template: str) -> TypeGuard[TemplateName]:
    """Tell whether *template* is one that goes by a name, and no file."""
    return template in TEMPLATE_NAMES


def asked_through(template: TemplateSpec) -> TemplateSpec:
    """Return the template that a model is asked through that is trained with *template*.

    TRL's are for training alone: what is trained with one keeps the tokenizer's own.
    """
    return OWN if template == TRL else template


def given(template: TemplateSpec) -> dict[str, TemplateSpec]:
    """Return what a spec says of a model's template: nothing where it is the tokenizer's own.

    A model without `template` so keeps the keys of what is made with it.
    """
    return {} if template == OWN else {"template": template}


@dataclass(frozen=True, kw_only=True)
class Template:
    """A chat template and where it comes from.

    Attributes:
        source: `tokenizer`, `chatml`, `trl` or `custom:<name>`.
        text: The Jinja text.
    """

    source: str
    text: str

    @property
    def sha256(self) -> str:
        """Return the hex digest of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_fast_tokenizer(folder: Path) -> Any:
    """Return the tokenizer in *folder*; no code of the repository is run.

    Raises:
        TemplateError: If there is none, or it cannot tell where its tokens stand in the text.
    """
    # Planning reads this module and loads no tokenizer: it does not wait seconds for the library.
    from transformers import AutoTokenizer

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
    if text := named_text(choice) or own_template(tokenizer):
        return Template(source=choice, text=text)
    raise TemplateError(
        f"the tokenizer in {tokenizer.name_or_path} has no chat template; choose"
        " `template: chatml` or the path of a .jinja file, for the model or for the run"
    )


def named_text(name: TemplateName) -> str | None:
    """Return the text of a template that goes by a name; None where it hangs on the tokenizer."""
    match name:
        case "chatml":
            return CHATML
        case "tokenizer" | "trl":
            return None
        case _:
            assert_never(name)


def own_template(tokenizer: Any) -> str:
    """Return the chat template that a tokenizer brings for plain conversations, or nothing."""
    own = tokenizer.chat_template
    if isinstance(own, Mapping):
        own = own.get("default")
    return own if isinstance(own, str) else ""


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


def split_markers(tokenizer: Any) -> dict[str, int]:
    """Return the chat template's control tokens that are none here -> how many tokens each is.

    A tokenizer that was not made for a template reads `<|im_start|>` as ordinary characters.
    """
    markers = sorted(set(MARKER.findall(_rendered(tokenizer))))
    counts = {one: len(tokenizer.encode(one, add_special_tokens=False)) for one in markers}
    return {marker: count for marker, count in counts.items() if count != 1}


def _rendered(tokenizer: Any) -> str:
    return str(tokenizer.apply_chat_template(list(_TURNS), tokenize=False))

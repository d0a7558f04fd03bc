"""Chat templates as planning reads them: their syntax, and whether two write other prompts.

Apart from `templates`: what is found is remembered, until the code that this module reaches
changes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from scripts.lib.data.chat_template_files import TOKENIZER_SETTINGS, read_settings
from scripts.lib.data.templates import with_fixed_date
from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_files import LocalSources

OLD_SPECIAL_TOKENS = "special_tokens_map.json"

_QUESTION = {"role": "user", "content": "question"}
_PROBES = ([_QUESTION], [{"role": "system", "content": "system"}, _QUESTION])
_SPECIAL_TOKEN = re.compile(r"\w+_token")


class _Generation(Extension):
    """The tag by which templates mark an answer; what stands in it is printed as it is."""

    tags = {"generation"}  # noqa: RUF012  the type of Jinja's own

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what stands between the tag and its end."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


# As transformers reads them (utils/chat_template_utils.py), as far as syntax goes.
_PARSER = jinja2.Environment(extensions=[_Generation, "jinja2.ext.loopcontrols"])


def parse_template(text: str) -> nodes.Template:
    """Return the syntax tree of a chat template.

    Raises:
        jinja2.TemplateSyntaxError: when it is none.
    """
    return _PARSER.parse(text)


def special_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens that the files of a tokenizer state: name in templates -> text.

    As transformers reads them (tokenization_utils_base.py): the older file counts where the
    settings do not list the added tokens. What a tokenizer's class adds is not known.
    """
    stated = _settings(folder / TOKENIZER_SETTINGS)
    if "added_tokens_decoder" not in stated:
        stated = {**stated, **_settings(folder / OLD_SPECIAL_TOKENS)}
    own = stated.get("extra_special_tokens")
    named = {name: token for name, token in stated.items() if _SPECIAL_TOKEN.fullmatch(name)}
    named |= own if isinstance(own, dict) else {}
    texts = {
        name: token.get("content") if isinstance(token, Mapping) else token
        for name, token in named.items()
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _settings(file: Path) -> dict[str, Any]:
    """Return a file of settings; one that is not there states nothing."""
    return read_settings(file) if file.is_file() else {}


def check_alike(sources: LocalSources, own: str, base: str, tokens: Mapping[str, str]) -> None:
    """Refuse a run's template that surely writes other prompts than that of its base.

    Args:
        sources: Remembers what was found.
        own: The run's.
        base: The base's.
        tokens: The special tokens that their tokenizer is known to give them.

    Raises:
        ConfigError: They write neither a question nor one under a system turn alike.
    """

    def check() -> bool:
        if not _may_agree(own, base, tokens):
            raise ConfigError("is not that of its base")
        return True

    question = {
        "templates": [own, base],
        "special_tokens": dict(tokens),
        "transformers": sources.package_version("transformers"),
    }
    sources.recall(question, check)


def _may_agree(one: str, other: str, tokens: Mapping[str, str]) -> bool:
    """Tell whether two templates may write the same prompt; one that fails here is not judged."""
    # It takes seconds to import, which planning need not wait for where templates are the same.
    from transformers.utils.chat_template_utils import render_jinja_template

    def prompt(template: str, turns: list[dict[str, str]]) -> str:
        (text,), _ = render_jinja_template(
            [turns], chat_template=with_fixed_date(template), add_generation_prompt=True, **tokens
        )
        return str(text)

    try:
        if not _named(one) | _named(other) <= set(tokens):
            return True
        return any(prompt(one, turns) == prompt(other, turns) for turns in _PROBES)
    except Exception:  # a template is a program: it can fail in any way
        return True


def _named(template: str) -> set[str]:
    """Return the special tokens that a template names."""
    names = {node.name for node in parse_template(template).find_all(nodes.Name)}
    return set(filter(_SPECIAL_TOKEN.fullmatch, names))

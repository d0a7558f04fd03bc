"""What becomes of a conversation on a chat template that people use, with a tiny tokenizer.

The templates are those that TRL ships, those in docs/templates, and ChatML. The tokenizer is the
tiny model's with the control tokens of the template added, so that no model is needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.encoding import Encoder
from scripts.lib.data.masking import loss_mask
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.samples import SampleSpec, samples
from scripts.lib.data.templates import CHATML, Template
from scripts.lib.errors import TemplateError
from scripts.tools.tiny_model import make_tokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
OWN_FOLDER = Path("docs/templates")
# How the templates spell control tokens; <s> and </s> stand for a model's own first and last token.
MARKS = re.compile(
    r"<\|[^<>|\s]{1,40}\|?>|<[a-z_]+\|>|<｜[^<>｜\s]{1,40}｜>|</?s>"
    r"|<(?:bos|eos|start_of_turn|end_of_turn|end_of_utterance)>|\[/?[A-Z_]{3,}\]"
)
FIRST, LAST = "<s>", "</s>"

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "City"}},
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "abcdefghi",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Bonn"}},
}


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _assistant(text: str, **more: Any) -> Message:
    return Message(role="assistant", content=text, **more)


CONVERSATIONS = {
    "plain": Conversation(messages=(_user("2+2?"), _assistant("4"))),
    "several turns": Conversation(
        messages=(_user("2+2?"), _assistant("4"), _user("sure?"), _assistant("Yes."))
    ),
    "system": Conversation(
        messages=(
            Message(role="system", content="Be short."),
            _user("2+2?"),
            _assistant("4"),
        )
    ),
    "tool": Conversation(
        messages=(
            _user("Weather in Bonn?"),
            _assistant("", tool_calls=(CALL,)),
            Message(role="tool", content="12 C", tool_call_id="abcdefghi", name="weather"),
            _assistant("12 degrees."),
        ),
        tools=(TOOL,),
    ),
    "thinking": Conversation(
        messages=(
            _user("2+2?"),
            _assistant("<think>\neasy\n</think>\n\n4"),
            _user("sure?"),
            _assistant("<think>hm</think>Yes."),
        )
    ),
}


@dataclass(frozen=True, kw_only=True)
class KnownTemplate:
    """A chat template that people use.

    Attributes:
        name: As TRL or docs/templates name its file.
        text: The Jinja text.
        ours: Whether it lies in docs/templates or in the code, and not in TRL.
    """

    name: str
    text: str
    ours: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of a conversation.

    Attributes:
        kind: `together`, `each turn`, or the reason for which it is dropped.
        trained: The trained texts, turn by turn; nothing where it is dropped.
        ended: Whether a control token ends each of them.
        detail: What the ledger says of a dropped one.
    """

    kind: str
    trained: tuple[str, ...] = ()
    ended: bool = True
    detail: str = ""


def known_templates() -> Iterator[KnownTemplate]:
    """Yield TRL's templates but those for training, then those of docs/templates and ChatML."""
    found = find_spec("trl")  # TRL itself takes seconds to import
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("TRL is not installed: run `make env`")
    folder = Path(found.submodule_search_locations[0], "chat_templates")
    for file in sorted(folder.glob("*.jinja")):
        if not file.stem.endswith("_training"):
            yield KnownTemplate(name=file.stem, text=file.read_text(encoding="utf-8"), ours=False)
    for file in sorted((ROOT / OWN_FOLDER).glob("*.jinja")):
        yield KnownTemplate(name=file.stem, text=file.read_text(encoding="utf-8"), ours=True)
    yield KnownTemplate(name="chatml", text=CHATML, ours=True)


def tokenizer_for(template: str) -> Any:
    """Return the tiny model's tokenizer with the control tokens that a template names."""
    tokenizer = make_tokenizer()
    marks = sorted({*MARKS.findall(template), FIRST, LAST})
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.bos_token, tokenizer.eos_token = FIRST, LAST
    return tokenizer


def renderer_for(template: KnownTemplate) -> Renderer:
    """Return a renderer of the template with its tiny tokenizer."""
    named = Template(source=template.name, text=template.text)
    return Renderer(tokenizer_for(template.text), named)


def wants_parts(renderer: Renderer) -> bool:
    """Tell whether a template is made for pictures only.

    It loses words that stand in a turn as a text, writes them where they stand in a part with a
    type, and writes something for a picture.
    """
    said = {"type": "text", "text": "tunesmith1"}
    picture = [{"type": "image"}, said]
    plain, typed, seen = (_tried(renderer, content) for content in (said["text"], [said], picture))
    return said["text"] not in plain and said["text"] in typed and len(seen) > len(typed)


def _tried(renderer: Renderer, content: object) -> str:
    turns = [{"role": "user", "content": content}]
    try:
        return renderer.render(turns, generation_prompt=True)
    except TemplateError:
        return ""


def outcome(renderer: Renderer, conversation: Conversation, spec: SampleSpec) -> Outcome:
    """Return what becomes of a conversation."""
    try:
        found = samples(renderer, conversation, "x", spec)
    except UnusableRow as error:
        return Outcome(kind=error.reason, detail=error.detail)
    except TemplateError as error:
        return Outcome(kind="template_refuses", detail=str(error.__cause__ or error))
    encoder = Encoder(renderer.tokenizer)
    encoded = encoder.encode([one.text for one in found])
    return Outcome(
        kind="together" if len(found) == 1 else "each turn",
        trained=tuple(one.text[start:end] for one in found for start, end in one.answers),
        ended=all(
            loss_mask(tokens, one.text, one.answers, encoder.special_ids).ended
            for one, tokens in zip(found, encoded, strict=True)
        ),
    )

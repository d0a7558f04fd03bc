"""TRL's chat templates for training: of which templates it has one, and which.

It knows templates byte for byte. Apart from `templates`, so that TRL is a pin of those shards only.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.lib.data.templates import TRL, Template, own_template
from scripts.lib.errors import TemplateError

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_REMEDY = (
    "leave `template` out, so that each turn is trained as the model is asked for it, or name a"
    " .jinja file"
)


def training_template(tokenizer: Any) -> Template:
    """Return TRL's template for training with a tokenizer; its own where TRL needs no other.

    Raises:
        TemplateError: TRL knows none for the tokenizer's template, or there is no template.
    """
    own = own_template(tokenizer)
    if not own:
        raise TemplateError(
            f"the tokenizer in {tokenizer.name_or_path} has no chat template, so TRL has none for"
            " training, either; choose `template: chatml` or the path of a .jinja file"
        )
    # It takes seconds, which planning need not wait for.
    from trl.chat_template_utils import get_training_chat_template

    try:
        text = get_training_chat_template(tokenizer)
    except Exception as error:  # it tries the template out, which is a program
        raise TemplateError(
            f"TRL has no training template for that of {tokenizer.name_or_path} ({error});"
            f" {_REMEDY}"
        ) from error
    return Template(source=TRL, text=text or own)


def unknown_to_trl(template: str) -> str | None:
    """Say what to do where TRL surely has no training template for one; None where it may.

    TRL is not loaded: its files are looked at. A template that marks its answers may need none.
    """
    found = find_spec("trl")
    if not template or _MARKS.search(template) or found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "chat_templates"
    known = (file.with_name(_original(file.name)) for file in folder.glob("*_training.jinja"))
    if any(file.is_file() and file.read_text(encoding="utf-8") == template for file in known):
        return None
    return f"TRL knows no training template for it; {_REMEDY}"


def _original(name: str) -> str:
    return name.replace("_training.jinja", ".jinja")

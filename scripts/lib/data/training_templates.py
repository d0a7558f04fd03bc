"""TRL's chat templates for training: of which templates it has one, and which.

It knows templates byte for byte. Apart from `templates`, so that TRL is a pin of those shards only.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.lib.data.control_tokens import lacking_tokens
from scripts.lib.data.templates import CHATML, TRL, Template, own_template
from scripts.lib.errors import TemplateError

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_TRAINING = "_training.jinja"
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


def other_templates(tokenizer: Any, template: Template) -> str:
    """Say which other templates would do for a tokenizer, what each takes included.

    Args:
        tokenizer: The tokenizer.
        template: The one that does not do.
    """
    found = []
    own = own_template(tokenizer)
    if template.source == TRL:
        found.append("`template: tokenizer`, turn by turn")
    elif own and _is_known(own):
        found.append("`template: trl`, which TRL has for the tokenizer's own")
    if template.text != CHATML:
        lacking = lacking_tokens(tokenizer, Template(source="chatml", text=CHATML))
        takes = f" (it adds {', '.join(lacking)} to the tokenizer: docs/base_models.md)"
        found.append(f"`template: chatml`{takes if lacking else ''}")
    return ", or ".join([*found, "a .jinja file of your own"])


def unknown_to_trl(template: str) -> str | None:
    """Say what to do where TRL surely has no training template for one; None where it may.

    A template that marks its answers may need none: only TRL can tell.
    """
    if not template or _MARKS.search(template) or _folder() is None or _is_known(template):
        return None
    return f"TRL knows no training template for it; {_REMEDY}"


def _is_known(template: str) -> bool:
    """Tell whether TRL has a training template for one, by its files: it is not loaded."""
    folder = _folder()
    pairs = folder.glob(f"*{_TRAINING}") if folder else ()
    known = (file.with_name(file.name.replace(_TRAINING, ".jinja")) for file in pairs)
    return any(file.is_file() and file.read_text(encoding="utf-8") == template for file in known)


def _folder() -> Path | None:
    found = find_spec("trl")
    return Path(found.origin).parent / "chat_templates" if found and found.origin else None

"""The files of a tokenizer and its chat templates, copied from a model as they are.

Apart from `rendering` for those who render nothing.
"""

import json
import shutil
from pathlib import Path

from scripts.lib.files import copy_files, files_below
from scripts.lib.model_files import TEMPLATE_FILE, TOKENIZER_FILES

TEMPLATE_FOLDER = "additional_chat_templates"


def copy_tokenizer(model: Path, target: Path, template: str | None) -> None:
    """Copy a tokenizer byte for byte, with another chat template if one is given.

    Args:
        model: Folder that holds the tokenizer.
        target: Folder to make.
        template: Text of the new template, or None to keep the tokenizer's own.
    """
    target.mkdir()
    for name in (*TOKENIZER_FILES, *([TEMPLATE_FILE] if template is None else [])):
        if (model / name).is_file():
            shutil.copyfile(model / name, target / name)
    if template is None:
        copy_files(files_below(model / TEMPLATE_FOLDER), target / TEMPLATE_FOLDER)
        return
    (target / TEMPLATE_FILE).write_bytes(template.encode())
    settings_file = target / "tokenizer_config.json"
    if settings_file.is_file():
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        if settings.pop("chat_template", None) is not None:
            text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
            settings_file.write_text(text, encoding="utf-8")

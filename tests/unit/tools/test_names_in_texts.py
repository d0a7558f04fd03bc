"""Files and modules of the project that its texts name are there: a reader finds what is meant."""

import re

import pytest

from tests.workspace import ROOT

TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "rules/*.smk", "scripts/**/*.py", "profiles/**/*.*")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
FILES = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("[a-z]*/**/*.py")]
OF_OTHERS = (
    "llamafactory/",
    "eval/template.py",
    "nltk/",
    "torch/",
    "chat_template_utils.py",
    "tokenization_utils_base.py",
    "convert_hf_to_gguf.py",
)
"""Files of other projects, as the texts name them."""


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_python_file_and_module_that_a_text_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w*{}<>/.-])((?:[\w-]+/)*[\w-]+\.py)\b", text)
    own = {name for name in named if not any(other in name for other in OF_OTHERS)}
    assert not {name for name in own if not any(f"/{file}".endswith(f"/{name}") for file in FILES)}
    modules = {name.replace(".", "/") for name in re.findall(r"\bscripts(?:\.\w+)+", text)}
    files = {file.removesuffix(".py") for file in FILES}
    folders = {parent for file in FILES for parent in parents(file)}
    # What follows a module's name is a name in it.
    assert not {
        name
        for name in modules
        if name not in files | folders and name.rpartition("/")[0] not in files
    }


def parents(file: str) -> list[str]:
    """Return the folders of a file."""
    parts = file.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]

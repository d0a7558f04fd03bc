"""How Sphinx makes the site from docs/*.md: `make site`.

The pages are plain Markdown, with links and anchors as code hosts read them. Nothing that the site
needs is fetched by it: it opens without a network, also from a file system.
"""

import re

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "Tunesmith"
html_title = "Tunesmith"
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4


def navigation(text: str) -> str:
    """Return the text of the front page with what the site's navigation is made of.

    Each section that lists pages becomes a group, in the order in which they stand there.
    """
    groups = []
    for section in re.split(r"(?m)^## ", text)[1:]:
        caption = section.partition("\n")[0]
        pages = re.findall(r"(?m)^- \[([^\]]+)\]\((\w+)\.md\)", section)
        listed = "\n".join(f"{title} <{page}>" for title, page in pages)
        groups.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n")
    return "\n".join([text, *groups])


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "index":
        source[0] = navigation(source[0])


def setup(app: Sphinx) -> None:
    """Connect the navigation, and show pictures in Mermaid's words as the words they are."""
    app.connect("source-read", _read)
    app.add_lexer("mermaid", TextLexer)

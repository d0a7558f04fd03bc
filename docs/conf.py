"""How Sphinx makes the site from docs/*.md: `make site`.

The pages are plain Markdown, with links and anchors as code hosts read them. Nothing that the site
needs is fetched by it: it opens without a network, also from a file system.
"""

import re
from collections.abc import Iterable

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


def groups(text: str, pages: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the navigation: caption -> titles and pages.

    Each section of the front page that lists pages is a group, in the order in which they stand
    there; pages that none lists come last.

    Args:
        text: The front page.
        pages: Names of all pages but the front page.
    """
    found = {}
    for section in re.split(r"(?m)^## ", text)[1:]:
        found[section.partition("\n")[0]] = re.findall(r"(?m)^- \[([^\]]+)\]\((\w+)\.md\)", section)
    listed = {page for group in found.values() for _, page in group}
    if more := [("", page) for page in sorted(set(pages) - listed)]:
        found["More"] = more
    return found


def navigation(text: str, pages: Iterable[str]) -> str:
    """Return the text of the front page with what the site's navigation is made of."""
    parts = [text]
    for caption, group in groups(text, pages).items():
        lines = "\n".join(f"{title} <{page}>" if title else page for title, page in group)
        parts.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n")
    return "\n".join(parts)


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "index":
        source[0] = navigation(source[0], set(app.env.found_docs) - {"index"})


def setup(app: Sphinx) -> None:
    """Connect the navigation, and show pictures in Mermaid's words as the words they are."""
    app.connect("source-read", _read)
    app.add_lexer("mermaid", TextLexer)

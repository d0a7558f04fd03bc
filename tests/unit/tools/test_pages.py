"""The pages lead somewhere: every link to a file or a heading finds it, and no page is left out."""

import re
import runpy
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from myst_parser.slugs import github_slugify, unique_slug

from tests.workspace import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "profiles/*/*.md", "resources/**/*.md")
    for path in ROOT.glob(pattern)
)


@cache
def page(path: Path) -> tuple[set[str], list[str]]:
    """Return the anchors of a page's headings, as code hosts name them, and its links."""
    anchors, links = set[str](), list[str]()
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type != "inline":
            continue
        children = token.children or []
        if before is not None and before.type == "heading_open":
            title = "".join(one.content for one in children if one.type in ("text", "code_inline"))
            anchors.add(unique_slug(github_slugify(title), anchors))
        links += [str(one.attrGet("href")) for one in children if one.type == "link_open"]
        links += [str(one.attrGet("src")) for one in children if one.type == "image"]
    return anchors, links


def leads_nowhere(path: Path) -> list[str]:
    """Return the links of a page that find no file or no heading; other sites are not asked."""
    lost = []
    for link in page(path)[1]:
        if re.match(r"[a-z]+:", link):
            continue
        named, _, anchor = unquote(link).partition("#")
        place = (path.parent / named).resolve() if named else path
        there = place.exists() and (not named or place.is_relative_to(ROOT))
        if not there or (anchor and (place.suffix != ".md" or anchor not in page(place)[0])):
            lost.append(link)
    return lost


def test_every_link_finds_its_file_and_its_heading() -> None:
    lost = {path.relative_to(ROOT).as_posix(): leads_nowhere(path) for path in PAGES}
    assert {path: links for path, links in lost.items() if links} == {}


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    one = ROOT / "docs" / "index.md"
    written = tmp_path / "page.md"
    written.write_text(
        f"# A title, with `code`\n\n[a](#a-title-with-code) [b](#other) [c](none.md)\n\n"
        f"| t |\n|---|\n| [d]({one.as_posix()}#nothing) |\n\n`[e](in_code.md)` [f](https://x.org)\n"
    )
    assert leads_nowhere(written) == ["#other", "none.md", f"{one.as_posix()}#nothing"]


def test_the_navigation_has_every_page_once() -> None:
    groups = runpy.run_path(str(DOCS / "conf.py"))["groups"]
    pages = sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")
    text = (DOCS / "index.md").read_text()
    assert sorted(page for group in groups(text, pages).values() for _, page in group) == pages
    *_, (caption, last) = groups(text, [*pages, "forgotten"]).items()
    assert caption == "More" and ("", "forgotten") in last

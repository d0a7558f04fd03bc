"""Properties of pages in a real browser: quiet, whole at every width, readable by everyone."""

import io
import re
import unicodedata
from pathlib import Path

import pypdf
import pytest
from playwright.sync_api import Browser

from tests.browser.pages import HOSTILE
from tests.browser.watched import WIDTHS, accessibility_faults, draw_all, look, opened, unfold

A4_WIDTH = 703
"""CSS pixels between the margins that the page asks for, 12 mm."""

PAGES = (
    "plain/index.html",
    "hostile/index.html",
    "examples.html",
    "rows/whole-report/flips/mmlu/run-001.html",
    "rows/whole-report/flips/orders/run-001.html",
)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_or_lies_on_something_else(
    browser: Browser, pages: Path, name: str, width: int
) -> None:
    with opened(browser, pages / name, width=width) as (page, _):
        draw_all(page)
        assert look(page, "cut") == []
        assert look(page, "overlapping") == []
        unfold(page)
        assert look(page, "cut") == []
        assert look(page, "overlapping") == []


@pytest.mark.parametrize("name", PAGES[1:])
def test_axe_finds_no_serious_fault_in_either_theme(
    browser: Browser, pages: Path, name: str
) -> None:
    with opened(browser, pages / name) as (page, _):
        unfold(page)
        draw_all(page)
        assert accessibility_faults(page) == []
        assert look(page, "faintInCharts", 4.5) == []
        page.emulate_media(color_scheme="dark")
        assert accessibility_faults(page, "color-contrast") == []
        assert look(page, "faintInCharts", 4.5) == []


def test_a_page_asks_for_one_file_and_says_nothing(browser: Browser, pages: Path) -> None:
    path = pages / "plain/index.html"
    with opened(browser, path) as (_, seen):
        assert seen.requests == [path.as_uri()]


@pytest.mark.parametrize("name", PAGES[1:3])
def test_hostile_text_stays_text(browser: Browser, pages: Path, name: str) -> None:
    with opened(browser, pages / name) as (page, _):
        # `make show` writes characters that nobody sees as their codes.
        shown = HOSTILE.partition("\u202e")[0]
        assert page.evaluate("document.body.textContent").count(shown) > 2
        made = "document.querySelectorAll('script:not([data-own]), img, textarea').length"
        assert page.evaluate(made) == 0
        assert "49" not in page.title()


def test_with_scripts_off_the_page_says_the_same(browser: Browser, pages: Path) -> None:
    said = set()
    for scripts in (True, False):
        with opened(browser, pages / "plain/index.html", scripts=scripts) as (page, _):
            said.add(page.evaluate("document.querySelector('main').textContent"))
    assert len(said) == 1


def test_on_paper_stand_all_sections_and_nothing_is_cut(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / "plain/index.html", width=A4_WIDTH, theme="dark") as (page, _):
        page.emulate_media(media="print")
        assert look(page, "cut", True) == []
        printed = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4")))
        text = squeezed("".join(sheet.extract_text() for sheet in printed.pages))
        shown = page.locator("h1, h2, h3, caption, th, td").all_inner_texts()
        assert [words for words in shown if squeezed(words) not in text] == []


def squeezed(text: str) -> str:
    """Return a text without spaces, line ends and ligatures, which PDF has as it likes."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))

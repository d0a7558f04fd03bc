"""One Chromium for the tests of this folder, and the pages that it opens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.pages import make_pages
from tests.browser.watched import find_chromium
from tests.conftest import MakeOnce
from tests.unit.report_rows import make_rows


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a running headless Chromium."""
    if not (path := find_chromium()):
        pytest.skip("no Chromium here (Debian: apt-get install chromium, see CONTRIBUTING.md)")
    with sync_playwright() as playwright:
        # Tests may run as root in a container, where Chromium's sandbox does not start.
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(make_once: MakeOnce) -> Path:
    """Return a folder with the reports of `make_pages`, and in `rows` what `make_rows` makes."""
    rows = make_once("report-rows", make_rows)

    def make(folder: Path) -> None:
        make_pages(folder)
        (folder / "rows").symlink_to(rows)

    return make_once("pages", make)

"""Pages in a real Chromium, with everything noted that a page on a disk should not do.

Debian's Chromium, driven by Playwright, which brings no browser of its own here.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
"""What a Chromium is called, by distribution."""

WIDTHS = (400, 1400)
"""A phone and a desk, in CSS pixels."""

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

LOOK = Path(__file__).with_name("look.js").read_text(encoding="utf-8")


def find_chromium() -> str | None:
    """Return the path of an installed Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Seen:
    """What happened while a page was open."""

    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1400, theme: str = "light", scripts: bool = True
) -> Iterator[tuple[Page, Seen]]:
    """Open a page from the disk, and fail afterwards if it was not quiet.

    Args:
        browser: Where.
        path: The file.
        width: Of the window, in CSS pixels.
        theme: What the reader's system asks for.
        scripts: Whether the page's own run; those of the tests do in any case.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
        java_script_enabled=scripts,
        offline=True,
    )
    seen = Seen()
    page = context.new_page()
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.said.append(message.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))

    def dismiss(dialog: Any) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(path.as_uri())
    yield page, seen
    context.close()
    outside = [url for url in seen.requests if not re.match(r"(file|data|blob):", url)]
    assert (outside, seen.said, seen.errors, seen.dialogs) == ([], [], [], [])


def look(page: Page, what: str, *arguments: Any) -> Any:
    """Return what a function of `look.js` says of a page."""
    return page.evaluate(f"(given) => {{ {LOOK}; return {what}(...given) }}", list(arguments))


def unfold(page: Page) -> None:
    """Open all that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


def draw_all(page: Page) -> None:
    """Give its true size to what is only drawn when somebody scrolls to it."""
    page.add_style_tag(content="* { content-visibility: visible !important }")


def accessibility_faults(page: Page, *rules: str) -> list[str]:
    """Return axe's serious and critical faults, of all its rules or of some: rule, where, why."""
    page.evaluate(AXE)
    asked = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = page.evaluate("(asked) => axe.run(document, asked)", asked)
    return [
        f"{fault['id']}: {node['target'][-1]}: {node['failureSummary']}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]

"""Properties of the pages of flipped questions in a real browser."""

from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.watched import opened
from tests.unit.report_rows import HOSTILE

REPORT = "rows/whole-report"
CHOICES, GENERATED = (f"{REPORT}/flips/{name}/run-001.html" for name in ("mmlu", "orders"))


def shown(page: Page, key: str) -> list[str]:
    """Return a value of each row that can be seen, in order."""
    rows = "[...document.querySelectorAll('article')].filter(one => one.checkVisibility())"
    return page.evaluate(f"{rows}.map(one => one.dataset.{key} ?? one.{key})")


def choose(page: Page, name: str, value: str) -> None:
    page.locator(f"select[name={name}]").select_option(value)


@pytest.mark.parametrize("name", ["outcome", "subject"])
def test_a_filter_shows_the_rows_of_its_value_and_says_how_many(
    browser: Browser, pages: Path, name: str
) -> None:
    with opened(browser, pages / CHOICES) as (page, _):
        all_rows = Counter(shown(page, name))
        assert len(all_rows) > 1
        for value, count in all_rows.items():
            choose(page, name, value)
            assert shown(page, name) == [value] * count
            expect(page.locator("output")).to_have_text(f"{count} of {all_rows.total()} shown")
        choose(page, name, "")
        assert Counter(shown(page, name)) == all_rows


def test_filters_go_together_and_text_is_looked_for_in_any_case(
    browser: Browser, pages: Path
) -> None:
    with opened(browser, pages / GENERATED) as (page, _):
        every = shown(page, "textContent")
        word = "Order 3"
        page.locator("input[name=text]").fill(word.upper())
        found = [text for text in every if word.lower() in text.lower()]
        assert 0 < len(found) < len(every) and shown(page, "textContent") == found
        outcomes = Counter(shown(page, "outcome"))
        for outcome in ("wrong to right", "right to wrong"):
            choose(page, "outcome", outcome)
            left = outcomes[outcome]
            assert shown(page, "outcome") == [outcome] * left
            expect(page.locator("output")).to_have_text(f"{left} of {len(every)} shown")


def test_rows_are_sorted_by_margin_and_as_they_were(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / CHOICES) as (page, _):
        first = shown(page, "id")
        for value, key, sign in (
            ("fall", "change", 1),
            ("rise", "change", -1),
            ("sure", "sure", -1),
            ("id", "place", 1),
        ):
            choose(page, "order", value)
            sizes = [sign * float(one) for one in shown(page, key)]
            assert sizes == sorted(sizes) and len(sizes) == len(first)
        choose(page, "order", "")
        assert shown(page, "id") == first


def test_with_scripts_off_all_rows_are_there_and_no_control_that_does_nothing(
    browser: Browser, pages: Path
) -> None:
    with opened(browser, pages / CHOICES) as (page, _):
        every = shown(page, "textContent")
    with opened(browser, pages / CHOICES, scripts=False) as (page, _):
        assert shown(page, "textContent") == every
        expect(page.locator("#controls")).to_be_hidden()


def test_examples_of_a_subject_unfold_from_a_row(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / CHOICES) as (page, _):
        link = page.locator("article a[href^='#examples-']").first
        examples = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
        expect(examples).to_be_hidden()
        link.click()
        expect(examples).to_be_visible()


def test_the_way_from_the_report_to_a_row_and_back(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / f"{REPORT}/index.html") as (page, _):
        page.locator("a[href='flips/mmlu/run-001.html']").first.click()
        row = page.locator("article").last
        row.locator("a").first.click()
        assert row.evaluate("one => one.matches(':target')")
        page.get_by_role("link", name="Report").click()
        expect(page.locator("#answer")).to_be_visible()


def test_hostile_questions_and_answers_stay_text(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / GENERATED) as (page, _):
        assert all(HOSTILE in text for text in shown(page, "textContent"))
        assert page.evaluate("document.querySelectorAll('img, article script').length") == 0

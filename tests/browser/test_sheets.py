"""Properties of a sheet of pairs in a real browser."""

from pathlib import Path

from playwright.sync_api import Browser

from scripts.lib.benchmarks.judged_pairs.people import read_choices
from scripts.lib.benchmarks.judged_pairs.sheets import blind, sheet_html
from tests.browser.watched import accessibility_faults, look, opened
from tests.unit.benchmarks.judged_pairs.test_people import EVIL, judged


def test_what_is_chosen_on_the_page_is_what_the_saved_file_says(
    browser: Browser, tmp_path: Path
) -> None:
    source = judged(tmp_path / "judged.jsonl", 12, text=f"{EVIL} {{}}")
    shown, key = blind(source, "tuned", "replies", b"secret")
    path = tmp_path / "sheet.html"
    path.write_text(sheet_html(shown, key["sheet"]), encoding="utf-8")
    chosen = {one["pair"]: ("left", "right", "tie")[n % 3] for n, one in enumerate(shown[1:])}
    with opened(browser, path, width=400) as (page, seen):
        assert look(page, "cut") == []
        assert accessibility_faults(page) == []
        for pair, choice in chosen.items():
            page.locator(f'fieldset[data-pair="{pair}"] input[value="{choice}"]').check()
        assert f"{len(chosen)} of {len(shown)} chosen" in page.locator("output").inner_text()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save answers").click()
        saved.value.save_as(tmp_path / "answers.csv")
        assert page.evaluate("document.querySelectorAll('script, img').length") == 1
        assert seen.requests == [path.as_uri()]
    assert read_choices(tmp_path / "answers.csv", key) == chosen

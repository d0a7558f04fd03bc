"""The pages that the tests open: a report, one whose every text is hostile, and `make show`'s."""

import json
from pathlib import Path

from scripts.lib.examples.page import render_page as render_examples
from scripts.lib.report.page import ReportSpec
from scripts.lib.report.page import render_page as render_report
from tests.unit.report_data import comparison, evidence

HOSTILE = (
    "</textarea></script><script>alert(1)</script><img src=x onerror=alert(2)>"
    "\"'`&lt;{{ 7 * 7 }}${x} \u202e\u05e2\u05d1\u05e8\u05d9\u05ea\u202c \U0001f600 "
    f"{'a_word_that_goes_on_' * 6}"
)
"""Markup, quotes, templates, a change of direction, an emoji, and a word wider than a phone."""

HOSTILE_NAME = "</textarea><img/src=x/onerror=alert(3)><script>alert(4)"
"""What a name of 60 characters could hold, if the config allowed markup."""


def make_pages(folder: Path) -> None:
    """Write `plain/index.html`, `hostile/index.html` and `examples.html` into *folder*."""
    make_report(folder / "plain", hostile=False)
    make_report(folder / "hostile", hostile=True)
    (folder / "examples.html").write_text(render_examples(examples(), HOSTILE), encoding="utf-8")


def make_report(folder: Path, *, hostile: bool) -> None:
    """Write the made-up report into a folder."""
    folder.mkdir()
    names = {"base": "base", "gentle": "gentle", "eager": "eager"}
    reason, title = "empty_assistant", "What did the fine-tunes do?"
    if hostile:
        names = {key: f"{name}{HOSTILE_NAME}" for key, name in names.items()}
        reason = title = HOSTILE
    document = json.loads(json.dumps(comparison(**names)))
    if hostile:
        for benchmark in document["benchmarks"].values():
            benchmark["notes"] = [{"code": "hostile", "text": HOSTILE}]
    spec, manifests = evidence(**names, reason=reason)
    for manifest in manifests.values() if hostile else ():
        for answer in manifest["facts"].get("answers", ()):
            answer |= dict.fromkeys(("prompt", "reference", "answer"), HOSTILE)
    report = ReportSpec(title=title, legacy=spec.legacy, candidates=spec.candidates)
    page = render_report(report, document, manifests)
    (folder / "index.html").write_text(page, encoding="utf-8")


def examples() -> dict:
    """Return what `make show` tells of one conversation and one dropped row."""
    texts = ["<|im_start|>", HOSTILE, " and", "\n", "", "\u202e", "<|im_end|>"]
    row = {
        "id": "train:0",
        "ids": list(range(len(texts))),
        "texts": texts,
        "trained": [0, 0, 1, 1, 1, 1, 1],
        "control": [1, 0, 0, 0, 0, 0, 1],
    }
    conversation = {"id": "train:0", "split": "train", "shows": ["one answer"], "rows": [row]}
    dropped = {"id": "train:1", "detail": HOSTILE, "raw": json.dumps({"text": HOSTILE})}
    reason = {"step": "formatting", "verdict": "dropped", "reason": "empty", "count": 1}
    return {
        "formatted": "2 rows",
        "rendered": "1 conversation",
        "looked_at": 1,
        "conversations": [conversation | {"rows_in_all": 1, "raw": HOSTILE}],
        "reasons": [reason | {"rows": [dropped]}],
    }

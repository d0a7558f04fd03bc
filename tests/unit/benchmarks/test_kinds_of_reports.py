"""What of a kind's own code counts in comparisons and reports: only where a config has the kind."""

import ast
import shutil
from pathlib import Path

import pytest

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.benchmarks.kinds import MODULES
from scripts.lib.compare.document import SECTIONS

ROOT = Path(__file__).parents[3]
LIB = ROOT / "scripts" / "lib"
SHARED = [kind for kind, modules in MODULES.items() if "compare_runs" not in modules]
"""Kinds whose comparisons are made by what all kinds share."""

OFFERED = {
    "compare_runs": {"changes", "section", "markdown", "measures", "tidy_rows"},
    "write_report": {"answers", "notes", "comparisons", "views", "template"},
    "publish": {"OPENING", "tables"},
}
"""Rule -> what a kind's module for a section offers."""

HELD_OUT, JUDGED, MMLU = {"held_out"}, {"judged_pairs"}, {"mmlu"}
EVERY = set(MODULES)

CHANGES = [
    ("benchmarks/held_out/comparison.py", HELD_OUT, set()),
    ("benchmarks/held_out/tables.py", HELD_OUT, HELD_OUT),
    ("benchmarks/held_out/report.py", set(), HELD_OUT),
    ("benchmarks/held_out/report.html.jinja", set(), HELD_OUT),
    ("benchmarks/judged_pairs/comparison.py", JUDGED, set()),
    ("benchmarks/judged_pairs/tables.py", JUDGED, set()),
    ("benchmarks/judged_pairs/report.py", set(), JUDGED),
    ("benchmarks/judged_pairs/report.html.jinja", set(), JUDGED),
    ("compare/asked_notes.py", HELD_OUT | JUDGED, set()),
    ("benchmarks/held_out/document.py", HELD_OUT, HELD_OUT),
    ("benchmarks/judged_pairs/document.py", JUDGED, JUDGED),
    ("benchmarks/held_out/card.py", set(), set()),
    ("benchmarks/judged_pairs/card.py", set(), set()),
    ("benchmarks/held_out/scores.py", set(), set()),
    ("benchmarks/held_out/adherence.py", set(), set()),
    ("benchmarks/judged_pairs/scores.py", JUDGED, set()),
    ("benchmarks/mmlu/report.py", set(), MMLU),
    ("benchmarks/lm_eval/report.py", set(), {"lm_eval"}),
    ("benchmarks/exact_match/report.py", set(), {"exact_match"}),
    ("report/drill_down.py", set(), EVERY),
    ("compare/comparison.py", EVERY, set()),
    ("compare/tables.py", EVERY, set()),
    ("report/page.py", set(), EVERY),
    ("report/scores.py", set(), EVERY),
    ("report/folded.py", set(), EVERY),
    ("report/seeds.py", set(), EVERY),
    ("compare/seed_tables.py", EVERY, EVERY),
    ("report/page.html.jinja", set(), EVERY),
    ("report/page.css", set(), EVERY),
    ("report/manifests.py", set(), EVERY),
    ("report/card_results.py", set(), set()),
    ("benchmarks/judged_pairs/untouched.py", JUDGED, set()),
    ("compare/contamination.py", EVERY, set()),
    ("compare/contamination_words.py", EVERY, EVERY),
    ("report/contamination.py", set(), EVERY),
    ("report/contamination.html.jinja", set(), EVERY),
    ("contamination/document.py", EVERY, EVERY),
    ("contamination/matching.py", set(), set()),
    ("benchmarks/mmlu/texts.py", set(), set()),
    ("compare/notes.py", EVERY, set()),
    ("compare/replicates.py", EVERY, set()),
    ("compare/between_seeds.py", EVERY, set()),
    ("compare/document.py", EVERY, EVERY),
]
"""File -> the kinds whose comparisons, and whose reports, a change of it reaches."""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the programs and the library."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    return root


def digests(project: Path, rule: str) -> dict[str, str]:
    """Return kind -> digest of a rule's program for artifacts of that kind alone."""
    code = ProjectCode(project)
    return {kind: code.digest(rule, [kind]) for kind in MODULES}


@pytest.mark.parametrize(("name", "compared", "reported"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_change_reaches_the_artifacts_of_these_kinds_and_no_other(
    project, name, compared, reported
):
    rules = {"compare_runs": compared, "write_report": reported}
    before = {rule: digests(project, rule) for rule in rules}
    file = project / "scripts" / "lib" / name
    text = file.read_text(encoding="utf-8")
    file.write_text(text + ("\nADDED = 1\n" if file.suffix == ".py" else "\n"), encoding="utf-8")
    after = {rule: digests(project, rule) for rule in rules}
    file.write_text(text, encoding="utf-8")
    for rule, expected in rules.items():
        changed = {kind for kind in MODULES if before[rule][kind] != after[rule][kind]}
        assert changed == expected, rule


def test_kinds_that_share_everything_have_the_digest_of_a_config_without_benchmarks():
    code = ProjectCode(ROOT)
    found = {code.digest("compare_runs", [kind]) for kind in SHARED}
    assert found == {code.digest("compare_runs")}


def test_the_kinds_of_a_config_count_together():
    code = ProjectCode(ROOT)
    both = code.digest("compare_runs", ["held_out", "judged_pairs", "mmlu"])
    assert both not in digests(ROOT, "compare_runs").values()
    assert both == code.digest("compare_runs", ["mmlu", "judged_pairs", "held_out"])


@pytest.mark.parametrize("rule", list(OFFERED))
@pytest.mark.parametrize("kind", list(SECTIONS.values()))
def test_a_kind_with_a_section_offers_what_is_asked_of_it(rule, kind):
    place = ROOT.joinpath(*MODULES[kind][rule].split(".")).with_suffix(".py")
    body = ast.parse(place.read_text(encoding="utf-8")).body
    made = {one.name for one in body if isinstance(one, ast.FunctionDef)}
    made |= {ast.unparse(one.targets[0]) for one in body if isinstance(one, ast.Assign)}
    named = {a.name for one in body if isinstance(one, ast.ImportFrom) for a in one.names}
    assert made | named >= OFFERED[rule]


@pytest.mark.parametrize("name", ["compare/comparison.py", "compare/tables.py", "report/page.py"])
def test_a_program_asks_only_for_modules_of_its_own_rule(name):
    """Others are loaded, but not counted."""
    calls = [n for n in ast.walk(ast.parse((LIB / name).read_text())) if isinstance(n, ast.Call)]
    asked = {ast.unparse(c.args[0]) for c in calls if ast.unparse(c.func) in ("load", "parts_of")}
    assert asked == {"'write_report'" if name == "report/page.py" else "'compare_runs'"}

"""The code of a kind of benchmark counts for artifacts of that kind, and for no other."""

import ast
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pytest

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.benchmarks.kinds import FILES, MODULES, load, planning
from scripts.lib.config.benchmark_options import BenchmarkOptions
from scripts.lib.config.benchmarks import FORMS
from scripts.lib.score.documents import ScoreProtocol

ROOT = Path(__file__).parents[3]
CODE = ProjectCode(ROOT)
FOLDER = ROOT / "scripts/lib/benchmarks"
ASKERS = ("kinds.load", "load", "document.parts_of", "parts_of")
HANDS_ON = ROOT / "scripts/lib/compare/document.py"
"""Takes the name of the rule from its callers, which are looked at in its place."""
RULES = sorted({*(stage.rule for stage in STAGES.values()), "publish"})
PAIRS = [(rule, kind) for kind, modules in MODULES.items() for rule in modules]

INTERFACES: dict[str, dict[str, Any]] = {
    "fetch_benchmark": {"fetch": ["spec", "places", "out"]},
    "find_contamination": {"texts": ["benchmark", "subject"]},
    "score_benchmark": {
        "questions": ["spec", "benchmark", "tokenizer", "limit"],
        "stated": ["spec", "questions"],
        "MORE_COLUMNS": tuple,
        "NEEDS_TEMPLATE": bool,
    },
    "aggregate_scores": {"aggregate": ["spec", "inputs", "out"]},
}
"""Rule -> what the program asks of a kind's module: parameters of functions, types of values."""

CHOICES = ("mmlu", "multiple_choice")
COUNTED = (*CHOICES, "exact_match", "lm_eval")
FROM_FILES = [k for k in MODULES if "fetch_benchmark" in MODULES[k] and k != "lm_eval"]
AS_CHOICES = [
    kind
    for kind, modules in MODULES.items()
    if modules["aggregate_scores"] == MODULES["multiple_choice"]["aggregate_scores"]
]

REACHED = {
    "benchmarks.mmlu.fetch": [("fetch_benchmark", "mmlu")],
    "benchmarks.multiple_choice.rows": [("fetch_benchmark", "multiple_choice")],
    "benchmarks.exact_match.rows": [
        ("fetch_benchmark", "exact_match"),
        ("score_benchmark", "exact_match"),
    ],
    "judge.faults": [
        ("fetch_benchmark", "judged_pairs"),
        ("find_contamination", "judged_pairs"),
        ("score_benchmark", "judged_pairs"),
        ("aggregate_scores", "judged_pairs"),
    ],
    "fetch.questions": [("fetch_benchmark", kind) for kind in FROM_FILES],
    "benchmarks.lm_eval.tasks": [
        ("fetch_benchmark", "lm_eval"),
        ("find_contamination", "lm_eval"),
        ("score_benchmark", "lm_eval"),
    ],
    "benchmarks.mmlu.texts": [("find_contamination", "mmlu")],
    "questions.choices": [("score_benchmark", kind) for kind in CHOICES],
    "benchmarks.mmlu.questions": [("score_benchmark", "mmlu")],
    "benchmarks.multiple_choice.questions": [("score_benchmark", "multiple_choice")],
    "benchmarks.exact_match.questions": [("score_benchmark", "exact_match")],
    "benchmarks.lm_eval.questions": [("score_benchmark", "lm_eval")],
    "benchmarks.held_out.questions": [("score_benchmark", "held_out")],
    "benchmarks.judged_pairs.questions": [("score_benchmark", "judged_pairs")],
    "benchmarks.multiple_choice.scores": [("aggregate_scores", kind) for kind in AS_CHOICES],
    "benchmarks.exact_match.scores": [("aggregate_scores", "exact_match")],
    "benchmarks.lm_eval.scores": [("aggregate_scores", "lm_eval")],
    "benchmarks.lm_eval.work_alarms": [("score_benchmark", "lm_eval")],
    "benchmarks.held_out.adherence": [("aggregate_scores", "held_out")],
    "judge.verdicts": [("aggregate_scores", "judged_pairs")],
}
"""Module -> the programs and kinds of the rules above whose digests change with it."""


NEEDED = ("find_contamination", "score_benchmark", "aggregate_scores")
"""Rules for which every kind has a module."""


def place(module: str, root: Path = ROOT) -> Path:
    """Return the file of a module."""
    return root.joinpath(*module.split(".")).with_suffix(".py")


def own_modules() -> list[str]:
    """Return every module that the registry names."""
    return sorted({name for modules in MODULES.values() for name in modules.values()})


def calls_of_the_registry() -> Iterator[tuple[Path, str]]:
    """Yield the file and the first argument of every call that gets a kind's module."""
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ASKERS:
                yield path, ast.unparse(node.args[0])


def test_the_kinds_are_those_that_a_configuration_can_name():
    """Registry, folders and the union of options say the same."""
    folders = {path.parent.name for path in FOLDER.glob("*/*.py")}
    assert {form.kind_name() for form in FORMS} == set(MODULES) == folders


def test_a_kind_is_one_that_results_can_be_of_and_that_the_tour_explains():
    assert set(get_args(get_type_hints(ScoreProtocol)["kind"])) == set(MODULES)
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "tour.md").read_text(), re.MULTILINE)
    assert set(rows) - {"kind"} == set(MODULES)


@pytest.mark.parametrize("kind", MODULES)
def test_a_kind_has_the_files_that_it_is_asked_by(kind):
    there = {path.stem for path in (FOLDER / kind).glob("*.py")}
    asked = {FILES[rule] for rule in MODULES[kind]}
    planned = {"options"} | ({"plan"} if "fetch_benchmark" in MODULES[kind] else set())
    borrowed = {file for rule, file in FILES.items() if kind not in MODULES[kind].get(rule, kind)}
    assert there >= (asked - borrowed) | planned
    assert there & set(FILES.values()) == asked - borrowed, "a file that no program reads"
    assert set(NEEDED) <= set(MODULES[kind])


@pytest.mark.parametrize("kind", [kind for kind in MODULES if "fetch_benchmark" in MODULES[kind]])
def test_planning_asks_a_kind_that_is_fetched_for_its_questions(kind):
    code = planning(kind).questions.__code__
    assert list(code.co_varnames[: code.co_argcount]) == ["benchmark", "sources"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_the_options_of_a_kind_lie_in_its_folder_and_say_what_goes_with_it(form):
    assert form.__module__ == f"scripts.lib.benchmarks.{form.kind_name()}.options"
    assert form.NEEDS


@pytest.mark.parametrize(
    "kind", [kind for kind in MODULES if "fetch_benchmark" not in MODULES[kind]]
)
def test_a_kind_that_is_not_fetched_asks_what_a_dataset_holds_out(kind):
    (form,) = (form for form in FORMS if form.kind_name() == kind)
    assert form.held_out_split is not BenchmarkOptions.held_out_split


@pytest.mark.parametrize(("rule", "kind"), PAIRS)
def test_the_module_of_a_kind_has_what_the_program_of_its_rule_asks(rule, kind):
    module = load(rule, kind)
    for name, wanted in INTERFACES.get(rule, {}).items():
        found = getattr(module, name)
        if isinstance(wanted, list):
            code = found.__code__
            assert list(code.co_varnames[: code.co_argcount]) == wanted
        else:
            assert isinstance(found, wanted)
    if rule == "score_benchmark":
        assert all(isinstance(field, pa.Field) for field in module.MORE_COLUMNS)


@pytest.mark.parametrize("rule", RULES)
def test_a_program_reaches_no_module_of_a_kind(rule):
    reached = set(CODE.closure(CODE.program(rule)))
    assert not reached & {place(name) for name in own_modules()}


@pytest.mark.parametrize("kind", MODULES)
def test_a_kind_reaches_no_module_of_another(kind):
    own = set(MODULES[kind].values())
    others = {place(name) for name in own_modules() if name not in own}
    for name in own:
        assert not others & set(CODE.closure(place(name))), name


def test_the_registry_is_asked_by_the_rule_s_own_program_only():
    """Else a program would run modules that its digest does not count."""
    calls = [(path, rule) for path, rule in calls_of_the_registry() if path != HANDS_ON]
    for path, text in calls:
        rule = ast.literal_eval(text)
        askers = {one for one in RULES if path in CODE.closure(CODE.program(one))}
        own = {one for one, kind in PAIRS if path in CODE.closure(place(MODULES[kind][one]))}
        assert askers | own == {rule}, path
    assert {ast.literal_eval(rule) for _, rule in calls} == {rule for rule, _ in PAIRS}


def test_the_registry_goes_by_its_own_name():
    """Else the test above would not find its calls."""
    for path in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for one in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                named = one.name.rpartition(".")[2] in ("kinds", "load", "document", "parts_of")
                assert not (named and one.asname), path


def digests(root: Path) -> dict[tuple[str, tuple[str, ...]], str]:
    """Return rule and kinds -> digest, for every rule without a kind and with each kind."""
    code = ProjectCode(root)
    kinds: list[tuple[str, ...]] = [(), *((kind,) for kind in MODULES)]
    return {(rule, some): code.digest(rule, some) for rule in RULES for some in kinds}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the code; tests put back what they change."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "scripts", root / "scripts")
    return root


def changed_by(module: str, project: Path) -> set[tuple[str, tuple[str, ...]]]:
    """Return the rules and kinds whose digests change with a constant in *module*."""
    before, file = digests(project), place(module, project)
    text = file.read_text()
    file.write_text(f"{text}\nADDED = 1\n")
    after = digests(project)
    file.write_text(text)
    return {one for one in before if before[one] != after[one]}


@pytest.mark.parametrize("module", own_modules())
def test_a_module_of_a_kind_changes_only_what_that_kind_makes_with_it(module, project):
    expected = {
        (rule, (kind,))
        for rule, kind in PAIRS
        if place(module) in CODE.closure(place(MODULES[kind][rule]))
    }
    assert (changed_by(module, project)) == expected
    assert expected


@pytest.mark.parametrize("module", REACHED)
def test_what_only_some_kinds_use_changes_only_these(module, project):
    """Other rules may use it whatever the kind: judges read prompts as models do."""
    changed = changed_by(f"scripts.lib.{module}", project)
    of_rules = {(rule, kinds) for rule, kinds in changed if rule in INTERFACES}
    assert of_rules == {(rule, (kind,)) for rule, kind in REACHED[module]}


def test_another_way_to_judge_held_out_answers_makes_no_question_and_no_other_kind_anew(project):
    changed = changed_by("scripts.lib.benchmarks.held_out.adherence", project)
    assert ("aggregate_scores", ("held_out",)) in changed
    for rule in ("fetch_benchmark", "fetch_dataset", "format_chat", "score_benchmark"):
        assert not {kinds for name, kinds in changed if name == rule}
    for kind in COUNTED:
        assert ("aggregate_scores", (kind,)) not in changed


def test_the_metric_of_lm_eval_s_tasks_and_that_of_exact_match_are_apart(project):
    for module, kind in (
        ("benchmarks.lm_eval.scores", "lm_eval"),
        ("benchmarks.exact_match.scores", "exact_match"),
    ):
        assert changed_by(f"scripts.lib.{module}", project) == {("aggregate_scores", (kind,))}


@pytest.mark.parametrize("kind", COUNTED)
def test_questions_that_are_right_or_wrong_can_be_shown_one_by_one(kind):
    module = load("write_report", kind)
    assert list(inspect.signature(module.asked).parameters) == ["benchmark", "shots"]
    assert isinstance(module.ANSWERS_ARE_LETTERS, bool)

"""The code in a scratch copy, moved about: no key changes, as the copy itself computes them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.benchmarks.kinds import MODULES
from tests.workspace import ROOT

KINDS = tuple(sorted(MODULES))
DIGESTS = """
import json
from pathlib import Path
from {package}.artifacts.code_digest import ProjectCode
code = ProjectCode(Path.cwd())
kinds = [(), *((kind,) for kind in {kinds})]
print(json.dumps([[rule, code.digest(rule, kind)] for rule in {rules} for kind in kinds]))
"""


@pytest.fixture(scope="module")
def before() -> str:
    """All digests of the code as it lies here."""
    return digests(ROOT)


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of the programs and the library."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def digests(clone: Path, package: str = "scripts.lib") -> str:
    """Return all digests of the copy's code, computed by the copy's own modules."""
    rules = sorted(stage.rule for stage in STAGES.values())
    program = DIGESTS.format(package=package, rules=rules, kinds=KINDS)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=clone, check=True, capture_output=True, text=True
    ).stdout


def rewrite(clone: Path, pattern: str, new: str) -> None:
    """Replace *pattern* in every module of the copy."""
    for path in clone.rglob("*.py"):
        text = path.read_text()
        path.write_text(re.sub(pattern, new, text, flags=re.MULTILINE))


def move(clone: Path, old: str, new: str) -> None:
    """Move a module of scripts/lib as a person does: the file, and every import of it."""
    place = clone / f"scripts/lib/{new}.py"
    place.parent.mkdir(parents=True, exist_ok=True)
    (clone / f"scripts/lib/{old}.py").rename(place)
    rewrite(clone, rf"scripts/lib/{old}\.py", f"scripts/lib/{new}.py")
    before, after = dotted(old), dotted(new)
    rewrite(clone, rf"\b{re.escape(before)}\b", after)
    for path in clone.rglob("*.py"):
        path.write_text(import_from(path.read_text(), before, after))
    register(clone, before, after)


def register(clone: Path, before: str, after: str) -> None:
    """Name a kind's module in the registry where it is now, if it lay in the kind's folder."""
    for kind, modules in MODULES.items():
        for rule in (rule for rule, module in modules.items() if module == before):
            line = rf'^    ("{kind}": _of\(.*\)),$'
            rewrite(clone, line, rf'    \1 | {{"{rule}": "{after}"}},')


def dotted(module: str) -> str:
    """Return the name under which a module of scripts/lib is imported."""
    return f"scripts.lib.{module}".replace("/", ".")


def import_from(text: str, before: str, after: str) -> str:
    """Return a module's text with `from package import ..., module, ...` taken from elsewhere."""
    (old_package, _, old), (package, _, name) = before.rpartition("."), after.rpartition(".")
    listed = rf"^from {re.escape(old_package)} import (\([^)]*\)|[^\n]*)\n"
    found = re.search(listed, text, re.MULTILINE)
    if not found:
        return text
    names = re.findall(r"\w+(?: as \w+)?", found[1])
    moved = [one for one in names if one.split()[0] == old]
    if not moved:
        return text
    left = [one for one in names if one not in moved]
    lines = [f"from {old_package} import {', '.join(left)}"] if left else []
    alias = moved[0].split()[-1]
    lines.append(f"from {package} import {name} as {alias}")
    return text.replace(found[0], "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train/loss_verdict", "merge/loss_verdict"),
        ("files", "files_of_artifacts"),
        ("benchmarks/held_out/questions", "score/held_out"),
        ("errors", "jobs/failures"),
        ("benchmarks/kinds", "registry"),
        ("benchmarks/held_out/report", "report/held_out"),
    ],
    ids=[
        "another folder",
        "another name",
        "a kind's",
        "plumbing",
        "the registry",
        "with its data file",
    ],
)
def test_a_module_that_is_moved_changes_no_key(clone, before, old, new):
    move(clone, old, new)
    if old.endswith("/report"):
        (data,) = (clone / f"scripts/lib/{old}").parent.glob("*.html.jinja")
        data.rename((clone / f"scripts/lib/{new}").parent / data.name)
    assert digests(clone) == before


def test_a_package_that_is_renamed_changes_no_key(clone, before):
    (clone / "scripts/lib").rename(clone / "scripts/core")
    rewrite(clone, r"\bscripts\.lib\b", "scripts.core")
    rewrite(clone, r"from scripts import lib\b", "from scripts import core")
    rewrite(clone, r"scripts/lib/", "scripts/core/")
    assert digests(clone, "scripts.core") == before


def test_imports_that_ruff_sorts_another_way_change_no_key(clone, before):
    options = ["--config", "lint.isort.force-sort-within-sections=true"]
    options += ["--config", "lint.isort.force-single-line=true"]
    ruff = [Path(sys.executable).with_name("ruff"), "check", "scripts", "--select", "I", "--fix"]
    texts = {path: path.read_text() for path in clone.rglob("*.py")}
    subprocess.run([*ruff, "--quiet", *options], cwd=clone, check=True)
    changed = [path for path, text in texts.items() if path.read_text() != text]
    assert len(changed) > 100, "nearly every module has something to sort"
    assert digests(clone) == before

"""What a code digest sees, and what it must not see."""

from pathlib import Path

import pytest

from scripts.lib.artifacts.code_digest import ProjectCode

PROGRAM = '''"""Docstring."""
from scripts.lib.middle import work


def main():
    """Docstring."""
    return work(1)
'''


@pytest.fixture
def project(tmp_path) -> Path:
    """A program that imports a module that imports a module."""
    lib = tmp_path / "scripts" / "lib"
    lib.mkdir(parents=True)
    (tmp_path / "scripts" / "__init__.py").write_text("")
    (lib / "__init__.py").write_text("")
    (tmp_path / "scripts" / "entry.py").write_text(PROGRAM)
    (lib / "middle.py").write_text(
        "from scripts.lib import far\n\n\ndef work(n):\n    return far.X\n"
    )
    (lib / "far.py").write_text("X = 1\n")
    (lib / "other.py").write_text("Y = 1\n")
    return tmp_path


def digest_of(project: Path) -> str:
    return ProjectCode(project).digest("entry")


def closure_of(project: Path) -> list[Path]:
    return ProjectCode(project).closure(project / "scripts/entry.py")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scripts/entry.py", "def main", "# a comment\ndef main"),
        ("scripts/entry.py", '    """Docstring."""', '    """Another text."""'),
        ("scripts/entry.py", '"""Docstring."""\nfrom', "from"),
        ("scripts/entry.py", "return work(1)", "return work(\n        1,\n    )"),
        ("scripts/lib/far.py", "X = 1", 'X = 1\n"""What X means."""'),
        ("scripts/lib/other.py", "Y = 1", "Y = 2"),
    ],
    ids=["comment", "docstring", "no docstring", "layout", "attribute docstring", "not imported"],
)
def test_what_changes_no_behaviour_keeps_the_digest(project, name, old, new):
    before = digest_of(project)
    file = project / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    assert digest_of(project) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scripts/entry.py", "work(1)", "work(2)"),
        ("scripts/entry.py", "work(1)", "work('1')"),
        ("scripts/lib/middle.py", "far.X", "-far.X"),
        ("scripts/lib/far.py", "X = 1", "X = 2"),
        ("scripts/lib/far.py", "X = 1", "X = 1.0"),
        ("scripts/lib/far.py", "X = 1", 'X = 1\nif X:\n    Z = "no docstring"'),
    ],
)
def test_what_can_change_behaviour_changes_the_digest(project, name, old, new):
    before = digest_of(project)
    file = project / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    assert digest_of(project) != before


def write(project: Path, name: str, text: str) -> None:
    file = project / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


MIDDLE = "from scripts.lib import far\n\n\ndef work(n):\n    return far.X\n"


@pytest.mark.parametrize(
    ("moved", "middle"),
    [
        ("scripts/lib/near.py", MIDDLE.replace("import far", "import near as far")),
        ("scripts/lib/near.py", MIDDLE.replace("far", "near")),
        ("scripts/lib/deep/far.py", MIDDLE.replace("scripts.lib", "scripts.lib.deep")),
        ("scripts/lib/deep/far.py", MIDDLE.replace("from scripts.lib", "from scripts.lib.deep")),
        ("scripts/lib/far.py", "import scripts.lib.far as far\n" + MIDDLE.split("\n", 1)[1]),
    ],
    ids=["another name", "and in the text", "another folder", "a package", "another statement"],
)
def test_a_module_that_moves_changes_nothing(project, moved, middle):
    before = digest_of(project)
    text = (project / "scripts/lib/far.py").read_text()
    (project / "scripts/lib/far.py").unlink()
    write(project, moved, text)
    write(project, "scripts/lib/middle.py", middle)
    assert digest_of(project) == before


def test_names_from_a_module_that_moves_change_nothing(project):
    """They are imported one by one, not as a module."""
    write(project, "scripts/lib/middle.py", "from scripts.lib.far import X\nwork = X\n")
    before = digest_of(project)
    (project / "scripts/lib/far.py").rename(project / "scripts/lib/near.py")
    write(project, "scripts/lib/middle.py", "from scripts.lib.near import X\nwork = X\n")
    assert digest_of(project) == before


@pytest.mark.parametrize(
    "imports",
    [
        "import sys\nimport os\nfrom scripts.lib.other import Y\nfrom scripts.lib.far import X\n",
        "from scripts.lib.other import (\n    Y,\n)\nimport os, sys\n"
        "from scripts.lib.far import X\n",
        "import os\nfrom scripts.lib.far import X, X\nimport sys\n"
        "from scripts.lib.other import Y\n",
    ],
)
def test_the_order_and_the_form_of_imports_do_not_count(project, imports):
    first = (
        "import os\nimport sys\nfrom scripts.lib.far import X\nfrom scripts.lib.other import Y\n"
    )
    write(project, "scripts/entry.py", first + "print(X, Y)\n")
    before = digest_of(project)
    write(project, "scripts/entry.py", imports + "print(X, Y)\n")
    assert digest_of(project) == before
    before, after = (
        "".join(f"    {line}\n" for line in one.replace("(\n    Y,\n)", "Y").splitlines())
        for one in (first, imports)
    )
    write(project, "scripts/entry.py", f"def main():\n{before}    print(X, Y)\n")
    inside = digest_of(project)
    write(project, "scripts/entry.py", f"def main():\n{after}    print(X, Y)\n")
    assert digest_of(project) == inside


BOTH = "from scripts.lib import far, other\n"
SWAPPED = [
    (
        "if A:\n    from scripts.lib.far import X\nelse:\n    from scripts.lib.other import X\n",
        "if A:\n    from scripts.lib.other import X\nelse:\n    from scripts.lib.far import X\n",
    ),
    (
        "def f():\n    from scripts.lib.far import X\n    return X\n\n"
        "def g():\n    from scripts.lib.other import X\n    return X\n",
        "def f():\n    from scripts.lib.other import X\n    return X\n\n"
        "def g():\n    from scripts.lib.far import X\n    return X\n",
    ),
    ("X = 5\nfrom scripts.lib.far import X\n", "from scripts.lib.far import X\nX = 5\n"),
    (
        "import os\nos.environ['A'] = 'b'\nfrom scripts.lib.far import X\n",
        "import os\nfrom scripts.lib.far import X\nos.environ['A'] = 'b'\n",
    ),
    (
        "try:\n    from scripts.lib.far import X\nexcept ImportError:\n"
        "    from scripts.lib.other import X\n",
        "try:\n    from scripts.lib.other import X\nexcept ImportError:\n"
        "    from scripts.lib.far import X\n",
    ),
    (BOTH + "def g(far):\n    return far.X\n", BOTH + "def g(far):\n    return other.X\n"),
    (BOTH + "for far in ():\n    print(far)\n", BOTH + "for far in ():\n    print(other)\n"),
]


@pytest.mark.parametrize(("one", "two"), SWAPPED)
def test_where_an_import_stands_counts(project, one, two):
    write(project, "scripts/lib/other.py", "X = 3\n")
    write(project, "scripts/entry.py", one)
    before = digest_of(project)
    write(project, "scripts/entry.py", two)
    assert digest_of(project) != before


def test_a_parameter_is_not_taken_for_the_module_of_its_name(project):
    text = (
        "from scripts.lib import far as m\nfrom scripts.lib import far as n\n\n"
        "def g(m):\n    return {}.X\n"
    )
    digests = set()
    for name in ("m", "n"):
        write(project, "scripts/entry.py", text.format(name))
        digests.add(digest_of(project))
    assert len(digests) == 2


@pytest.mark.parametrize(
    "imports",
    [
        "from scripts.lib.other import Y as X\n",
        "from scripts.lib.far import X as Y\nfrom scripts.lib.other import Y as X\n",
        "from elsewhere import X\n",
        "from scripts.lib.other import X\n",
    ],
    ids=["another name", "swapped", "another library", "another module"],
)
def test_what_is_imported_counts(project, imports):
    """Both modules hold both names."""
    write(project, "scripts/lib/far.py", "X = 1\nY = 2\n")
    write(project, "scripts/lib/other.py", "X = 3\nY = 4\n")
    write(project, "scripts/entry.py", "from scripts.lib.far import X\nprint(X)\n")
    before = digest_of(project)
    write(project, "scripts/entry.py", imports + "print(X)\n")
    assert digest_of(project) != before


def test_two_modules_that_change_places_change_the_digest(project):
    write(project, "scripts/lib/other.py", "X = 2\n")
    text = "from scripts.lib import far, other\nprint(far.X, other.X)\n"
    write(project, "scripts/entry.py", text)
    before = digest_of(project)
    write(project, "scripts/entry.py", text.replace("far.X, other.X", "other.X, far.X"))
    assert digest_of(project) != before


def test_a_data_file_counts_where_the_module_beside_it_names_it(project):
    write(project, "scripts/lib/far.py", 'X = "page.html.jinja"\n')
    write(project, "scripts/lib/page.html.jinja", "<p>one</p>")
    write(project, "scripts/lib/style.css", "p {}")
    before = digest_of(project)
    write(project, "scripts/lib/style.css", "p { color: red }")
    assert digest_of(project) == before, "no module names it"
    write(project, "scripts/lib/page.html.jinja", "<p>two</p>")
    assert digest_of(project) != before


def test_a_package_that_runs_code_is_refused(project):
    write(project, "scripts/lib/__init__.py", '"""Words."""\n\n"""More words."""\n')
    before = digest_of(project)
    write(project, "scripts/lib/__init__.py", '"""Words."""\nimport os\n')
    with pytest.raises(ValueError, match=r"__init__\.py holds more than a docstring"):
        digest_of(project)
    write(project, "scripts/lib/__init__.py", "")
    assert digest_of(project) == before


def test_the_place_of_the_checkout_does_not_count(project, tmp_path_factory):
    before = digest_of(project)
    moved = tmp_path_factory.mktemp("elsewhere") / "clone"
    project.rename(moved)
    assert digest_of(moved) == before


def test_an_import_inside_a_function_is_followed(project):
    file = project / "scripts/lib/far.py"
    file.write_text("def x():\n    from scripts.lib.other import Y\n    return Y\n")
    before = digest_of(project)
    (project / "scripts/lib/other.py").write_text("Y = 2\n")
    assert digest_of(project) != before


def test_every_form_of_import_is_followed(project):
    for line in (
        "import scripts.lib.other as o",
        "from scripts.lib import other",
        "from scripts.lib.other import Y",
    ):
        write(project, "scripts/entry.py", line + "\n")
        assert project / "scripts/lib/other.py" in closure_of(project), line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import scripts.lib.other", "write `from scripts.lib import other`"),
        ("from scripts.lib import nowhere", "scripts.lib.nowhere is nothing in this project"),
        ("from scripts import lib", "scripts.lib is nothing"),
        ("from scripts.lib.other import *", r"far\.py:1: what `import \*` brings in"),
        ("from os import Y\nfrom scripts.lib.other import Y", "Y is imported twice"),
        ("import scripts.lib.middle as m", "import each other: middle.py -> far.py -> middle.py"),
    ],
)
def test_an_import_that_cannot_be_followed_is_refused(project, line, words):
    write(project, "scripts/lib/far.py", f"{line}\nX = 1\n")
    with pytest.raises(ValueError, match=words):
        digest_of(project)


def test_a_relative_import_is_refused_with_its_place(project):
    (project / "scripts/lib/far.py").write_text("\nfrom . import other\n")
    with pytest.raises(ValueError, match=r"far\.py:2: relative imports"):
        digest_of(project)


def test_a_file_that_does_not_parse_is_named(project):
    (project / "scripts/lib/far.py").write_text("X = = 1\n")
    with pytest.raises(SyntaxError) as error:
        digest_of(project)
    assert str(error.value.filename).endswith("far.py")


def test_plumbing_is_neither_read_nor_walked_through(project):
    (project / "scripts/lib/errors.py").write_text("from scripts.lib import other\n")
    (project / "scripts/entry.py").write_text("from scripts.lib import errors\n")
    before = digest_of(project)
    (project / "scripts/lib/errors.py").write_text("TEXT = 'other words'\n")
    assert digest_of(project) == before

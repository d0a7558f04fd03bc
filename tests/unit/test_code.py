"""What a code digest sees, and what it must not see."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.code import PLUMBING, ProjectCode, read_source
from scripts.lib.kinds import MODULES, modules_of
from scripts.lib.stages import JUDGING_LIBRARIES, STAGES

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
REGISTRY = SCRIPTS / "lib/kinds.py"
CODE = ProjectCode(ROOT)

PROGRAM = '''"""Docstring."""
from scripts.lib.middle import work


def main():
    """Docstring."""
    return work(1)
'''

PLUMBING_REASONS = {
    "scripts/lib/cuda_driver.py": "refuses a machine whose driver is too old; computes nothing",
    "scripts/lib/errors.py": "classes and what they mean; a text that a user reads is no result",
    "scripts/lib/job.py": "checks, gates, temporary folders and manifests around the work",
    "scripts/lib/kinds.py": "names modules; these are counted for the artifacts that use them",
}

DECIDE_NO_BYTE = {
    "huggingface_hub": "moves the bytes of a pinned commit, as they are",
    "packaging": "reads the lock's markers",
    "requests": "carries words to a service and back",
    "tenacity": "waits before a service is asked again",
}
"""Third-party libraries that stages import and that are in nobody's key, with the reason."""

DECIDE_NO_BYTE_IN = {
    ("models", "datasets"): "fetching.py imports it for raw datasets and benchmarks",
    ("adapters", "pyarrow"): "reads integers and texts back; the file format is fixed",
    ("benchmarks", "evaluate"): "tasks get their metrics from it; none is asked here",
    ("benchmarks", "langdetect"): "is only seeded; no answer is judged here",
    ("benchmarks", "nltk"): "finds data, which are copied as they are",
    ("benchmarks", "numpy"): "only starts a task's chance; the rows are written as they came",
    ("benchmarks", "sympy"): "only forgets what it remembers; no answer is judged here",
    ("benchmarks", "torch"): "only starts a task's chance; the rows are written as they came",
    ("scores", "accelerate"): "only tells an out-of-memory error from others",
    ("judgements", "accelerate"): "only tells an out-of-memory error from others",
    ("judgements", "peft"): "puts adapters on candidates; a judge has none",
    ("merged", "accelerate"): "only keeps a model that is not loaded yet from taking memory",
    ("proofs", "accelerate"): "only keeps a model that is not loaded yet from taking memory",
}

EXECUTES_OTHERS = {"confinement.py": "runs what a model wrote, which is none of the project's code"}

DISTRIBUTIONS = {"lm_eval": "lm-eval", "yaml": "pyyaml"}
"""Module -> library, where the names differ."""

MERGED = ("merged", "proofs")
USED_BY_ANOTHER = {
    ("models", "gguf"): "transformers reads the packed weights with it",
    ("models", "safetensors"): "transformers writes the model with it",
    ("models", "tokenizers"): "transformers builds the tokenizer of a GGUF file with it",
    ("raw", "pyarrow"): "datasets writes the Parquet file of a hub's split with it",
    ("benchmarks", "pandas"): "turns a hub's table into JSON lines",
    ("benchmarks", "pyarrow"): "datasets reads a hub's table with it",
    ("shards", "jinja2"): "transformers renders chat templates with it",
    **{(s, "jinja2"): "transformers renders the end of a turn with it" for s in MERGED},
    **{(s, "tokenizers"): "transformers finds the token of that end with it" for s in MERGED},
    ("merged", "safetensors"): "transformers writes what PEFT merges with it",
    ("proofs", "safetensors"): "peft and transformers read adapter and models with it",
    ("scores", "safetensors"): "PEFT reads the adapter of an unmerged candidate with it",
    ("judgements", "tokenizers"): "transformers splits prompts into tokens with it",
    ("scores", "tokenizers"): "transformers splits prompts into tokens with it",
    **{("scores", name): "tasks of lm-eval judge with it" for name in JUDGING_LIBRARIES},
}
"""Pins of libraries that a stage's own files do not import, with who does."""


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


@pytest.mark.parametrize(
    "text",
    [
        "from scripts.lib import far as m\nfrom scripts.lib import far as n\n\n"
        "def g(m):\n    return {}.X\n",
    ],
)
def test_a_parameter_is_not_taken_for_the_module_of_its_name(project, text):
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


def test_every_data_file_of_the_packages_is_named_by_a_module_beside_it():
    """Else the digest would not see it."""
    files = [path for path in SCRIPTS.rglob("*") if path.is_file() and path.suffix != ".py"]
    for path in (path for path in files if "__pycache__" not in path.parts):
        modules = [read_source(module) for module in path.parent.glob("*.py")]
        assert any(path.name in source.strings for source in modules), path


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("*.py")), ids=lambda path: path.name)
def test_files_beside_a_module_are_read_by_a_name_that_stands_in_it(path):
    """A name that is put together, or one below a folder, would be invisible to the digest."""
    if path.is_relative_to(SCRIPTS / "tools"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and "__file__" in ast.unparse(node.func):
            method = ast.unparse(node.func).rpartition(".")[2]
            if method in ("with_name", "joinpath", "glob", "rglob", "iterdir"):
                (name,) = node.args
                assert method == "with_name" and isinstance(name, ast.Constant), path


def test_a_package_that_runs_code_is_refused(project):
    write(project, "scripts/lib/__init__.py", '"""Words."""\n\n"""More words."""\n')
    before = digest_of(project)
    write(project, "scripts/lib/__init__.py", '"""Words."""\nimport os\n')
    with pytest.raises(ValueError, match=r"__init__\.py holds more than a docstring"):
        digest_of(project)
    write(project, "scripts/lib/__init__.py", "")
    assert digest_of(project) == before


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("__init__.py")), ids=str)
def test_every_package_holds_a_docstring_only(path):
    assert ast.parse(path.read_text()).body[1:] == []
    assert ast.get_docstring(ast.parse(path.read_text()))


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


def test_every_plumbing_module_has_its_reason_and_is_there():
    assert set(PLUMBING_REASONS) == set(PLUMBING)
    assert len(set(PLUMBING.values())) == len(PLUMBING)
    assert all((ROOT / name).is_file() for name in PLUMBING)


def stage_closures() -> Iterator[tuple[str, list[Path]]]:
    """Yield each stage with the files that decide its bytes."""
    for stage in STAGES.values():
        yield stage.name, closure_of_rule(stage.rule)


def closure_of_rule(rule: str) -> list[Path]:
    """Return the files that decide the bytes of a rule's artifacts, of whatever kind."""
    own = [ROOT.joinpath(*name.split(".")) for name in modules_of(rule, MODULES)]
    entries = [CODE.program(rule), *(place.with_suffix(".py") for place in own)]
    return sorted({path for entry in entries for path in CODE.closure(entry)})


def test_plumbing_imports_no_stage_logic():
    """Else what decides bytes would hide behind a module that the digests leave out."""
    logic = {
        path
        for name, closure in stage_closures()
        for path in closure
        if path.parent.name == "lib" and path.name not in ("files.py", "canonical.py", "chain.py")
    }
    for name in PLUMBING:
        if (ROOT / name).is_file():
            hidden = set(reached_without(name)) & logic
            assert not hidden, f"{name} imports {sorted(path.name for path in hidden)}"


def reached_without(name: str) -> list[Path]:
    """Return the project files that a plumbing module runs, itself left out."""
    return [path for path in CODE.closure(ROOT / name) if path != ROOT / name]


def test_no_stage_logic_reaches_the_store_or_the_plan():
    """A function that fills a folder knows nothing of keys, plans and caches."""
    forbidden = {"store.py", "plan.py", "planning.py", "graph.py", "stages.py"}
    forbidden |= {"pipeline.py", "pipeline_sources.py"}
    for name, closure in stage_closures():
        found = forbidden & {path.name for path in closure}
        assert not found, f"{name} reaches {sorted(found)}"


def test_no_stage_logic_reads_the_config():
    for name, closure in stage_closures():
        found = [path.name for path in closure if path.name.startswith("config")]
        assert not found, f"{name} reaches {found}"


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("*.py")), ids=lambda path: path.name)
def test_nothing_of_the_project_is_imported_by_string(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if path != REGISTRY:
                assert name not in ("__import__", "importlib.import_module", "import_module"), path
            if path.name not in EXECUTES_OTHERS:
                assert name not in ("exec", "eval", "runpy.run_module", "runpy.run_path"), path


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_library_that_a_stage_imports_is_in_its_key_or_decides_no_byte(stage):
    missing = {
        library
        for library in libraries_of(stage) - pinned(stage) - set(DECIDE_NO_BYTE)
        if (stage, library) not in DECIDE_NO_BYTE_IN
    }
    assert not missing, f"stages.py leaves {sorted(missing)} out of the pins of {stage}"


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_pin_of_a_stage_is_a_library_that_it_uses(stage):
    unused = pinned(stage) - libraries_of(stage)
    unexplained = {library for library in unused if (stage, library) not in USED_BY_ANOTHER}
    assert not unexplained, f"{stage} is made again for {sorted(unexplained)}, which it never uses"


def pinned(stage: str) -> set[str]:
    """Return the libraries that can be in a stage's key."""
    special = (STAGES[stage].edge_libraries, STAGES[stage].kind_libraries)
    more = (name for mapping in special for names in mapping.values() for name in names)
    return {*STAGES[stage].libraries, *more}


def libraries_of(stage: str) -> set[str]:
    """Return the third-party libraries that the files of a stage import."""
    names = {
        name.partition(".")[0]
        for path in closure_of_rule(STAGES[stage].rule)
        for name in (one.name for one in read_source(path).imports)
    }
    return {DISTRIBUTIONS.get(n, n) for n in names - sys.stdlib_module_names - {"scripts"}}

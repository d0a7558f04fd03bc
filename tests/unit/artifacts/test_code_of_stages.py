"""What of the project's own code its digests count, and what they must not leave out."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.artifacts.code_digest import PLUMBING, ProjectCode, read_source
from scripts.lib.artifacts.stages import JUDGING_LIBRARIES, STAGES
from scripts.lib.benchmarks.kinds import MODULES, modules_of

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "scripts"
REGISTRY = SCRIPTS / "lib/benchmarks/kinds.py"
CODE = ProjectCode(ROOT)

PLUMBING_REASONS = {
    "scripts/lib/machine/cuda_driver.py": "refuses a driver that is too old; computes nothing",
    "scripts/lib/errors.py": "classes and what they mean; a text that a user reads is no result",
    "scripts/lib/jobs/job.py": "checks, gates, temporary folders and manifests around the work",
    "scripts/lib/progress.py": "says how far a job is; nothing that is made depends on it",
    "scripts/lib/benchmarks/kinds.py": (
        "names modules; these are counted for the artifacts that use them"
    ),
}

DECIDE_NO_BYTE = {
    "huggingface_hub": "moves the bytes of a pinned commit, as they are",
    "packaging": "reads the lock's markers",
    "requests": "carries words to a service and back",
    "tenacity": "waits before a service is asked again",
}
"""Third-party libraries that stages import and that are in nobody's key, with the reason."""

DECIDE_NO_BYTE_IN = {
    ("models", "datasets"): "fetch/datasets.py imports it for raw datasets and benchmarks",
    **{(s, "numpy"): "only its random state is kept and put back" for s in ("adapters", "trained")},
    ("adapters", "pyarrow"): "reads integers and texts back; the file format is fixed",
    ("trained", "pyarrow"): "reads integers and texts back; the file format is fixed",
    ("chat", "numpy"): "sorts and multiplies whole numbers, which every version does alike",
    **{(s, "numpy"): "counts and cuts whole numbers" for s in ("shards", "examples")},
    (
        "budgets",
        "pyarrow",
    ): "is imported beside what a budget is decided by; here it is read as JSON",
    ("benchmarks", "evaluate"): "tasks get their metrics from it; none is asked here",
    ("benchmarks", "langdetect"): "is only seeded; no answer is judged here",
    ("benchmarks", "nltk"): "finds data, which are copied as they are",
    ("benchmarks", "numpy"): "only starts a task's chance; the rows are written as they came",
    ("benchmarks", "torch"): "only starts a task's chance; the rows are written as they came",
    ("contamination", "evaluate"): "tasks get their metrics from it; none is asked here",
    ("contamination", "langdetect"): "is only seeded; no answer is judged here",
    ("contamination", "nltk"): "finds data, which no question is made of",
    ("contamination", "torch"): "only starts a task's chance; no examples are shown here",
    ("reports", "evaluate"): "tasks get their metrics from it; none is asked here",
    ("reports", "langdetect"): "is only seeded; no answer is judged here",
    ("reports", "nltk"): "finds data, which no question is made of",
    ("reports", "torch"): "only starts a task's chance; examples are drawn without it",
    ("given_adapters", "datasets"): "fetch/datasets.py imports it for raw datasets and benchmarks",
    ("scores", "accelerate"): "only tells an out-of-memory error from others",
    ("judgements", "accelerate"): "only tells an out-of-memory error from others",
    ("judgements", "peft"): "puts adapters on candidates; a judge has none",
    ("examples", "trl"): "is asked for a template where shards are rendered; here they are read",
    ("merged", "accelerate"): "only keeps a model that is not loaded yet from taking memory",
    ("proofs", "accelerate"): "only keeps a model that is not loaded yet from taking memory",
}

EXECUTES_OTHERS = {
    "confinement.py": "runs what a model wrote, which is none of the project's code",
    "bench_start.py": "a command for people; it runs programs as `python -m` does",
    "start_meter.py": "a command for people; it runs a program as `python -m` does",
}

DISTRIBUTIONS = {"lm_eval": "lm-eval", "yaml": "pyyaml"}
"""Module -> library, where the names differ."""

STOPPING = ("merged", "proofs", "trained")
USED_BY_ANOTHER = {
    ("models", "gguf"): "transformers reads the packed weights with it",
    ("models", "safetensors"): "transformers writes the model with it",
    ("models", "tokenizers"): "transformers builds the tokenizer of a GGUF file with it",
    ("raw", "pyarrow"): "datasets writes the Parquet file of a hub's split with it",
    ("benchmarks", "pandas"): "turns a hub's table into JSON lines",
    ("contamination", "jinja2"): "lm-eval renders the questions of tasks with it",
    ("examples", "transformers"): "reads tokenizers that need more than their tokenizer.json",
    ("shards", "jinja2"): "transformers renders chat templates with it",
    **{(s, "jinja2"): "transformers renders the end of a turn with it" for s in STOPPING},
    **{(s, "tokenizers"): "transformers finds the token of that end with it" for s in STOPPING},
    ("given_adapters", "jinja2"): "transformers renders the chat template of the prompts with it",
    ("given_adapters", "tokenizers"): "transformers splits the prompts into tokens with it",
    ("merged", "safetensors"): "transformers writes what PEFT merges with it",
    ("proofs", "safetensors"): "peft and transformers read adapter and models with it",
    ("scores", "safetensors"): "PEFT reads the adapter of an unmerged candidate with it",
    ("judgements", "tokenizers"): "transformers splits prompts into tokens with it",
    ("scores", "tokenizers"): "transformers splits prompts into tokens with it",
    **{("scores", name): "tasks of lm-eval judge with it" for name in JUDGING_LIBRARIES},
}
"""Pins of libraries that a stage's own files do not import, with who does."""


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


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("__init__.py")), ids=str)
def test_every_package_holds_a_docstring_only(path):
    assert ast.parse(path.read_text()).body[1:] == []
    assert ast.get_docstring(ast.parse(path.read_text()))


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
    logic = {path for name, closure in stage_closures() for path in closure if in_package(path)}
    assert {path.parent.name for path in logic} >= {"data", "train", "merge", "score", "compare"}
    for name in PLUMBING:
        hidden = set(reached_without(name)) & logic
        assert not hidden, f"{name} imports {sorted(path.name for path in hidden)}"


def in_package(path: Path) -> bool:
    """Tell whether a module of the library is one of a stage's, not one that anything may use."""
    return path.is_relative_to(SCRIPTS / "lib") and path.parent != SCRIPTS / "lib"


def reached_without(name: str) -> list[Path]:
    """Return the project files that a plumbing module runs, itself left out."""
    return [path for path in CODE.closure(ROOT / name) if path != ROOT / name]


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
    assert not missing, f"artifacts/stages.py leaves {sorted(missing)} out of the pins of {stage}"


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_pin_of_a_stage_is_a_library_that_it_uses(stage):
    unused = pinned(stage) - libraries_of(stage)
    unexplained = {library for library in unused if (stage, library) not in USED_BY_ANOTHER}
    assert not unexplained, f"{stage} is made again for {sorted(unexplained)}, which it never uses"


def test_every_library_that_decides_no_byte_of_a_stage_is_still_imported_there():
    imported = {(stage, name) for stage in STAGES for name in libraries_of(stage) - pinned(stage)}
    assert set(DECIDE_NO_BYTE_IN) <= imported


def pinned(stage: str) -> set[str]:
    """Return the libraries that can be in a stage's key."""
    own = STAGES[stage]
    special = (own.edge_libraries, own.kind_libraries, own.template_libraries)
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

"""What code an entry program runs: its own text and that of every project module it imports.

Limits: a new minor version of Python may print another syntax tree and so change every digest;
an import by string is invisible (there is none: a test looks for them); a file that is not Python
must be an input or an artifact's spec.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

PLUMBING = frozenset(
    {
        "scripts/__init__.py",
        "scripts/lib/__init__.py",
        "scripts/lib/cuda_driver.py",
        "scripts/lib/errors.py",
        "scripts/lib/job.py",
    }
)
"""Project files that decide no byte of an artifact: command lines, logging, error classes.

They stay out of every digest, and the walk does not go through them. `tests/unit/test_code.py`
holds the reasons and checks that no stage's logic hides behind one of them."""


def code_digest(entry: Path, root: Path) -> str:
    """Return 16 hex digits that change when the behaviour of *entry* can.

    Comments, docstrings, layout and file times are ignored, so a fresh checkout keeps its digests.

    Args:
        entry: A program below *root*.
        root: The project's folder, which imports start from.

    Raises:
        SyntaxError: when a file does not parse.
    """
    summary = hashlib.sha256()
    for path in source_closure(entry, root):
        name = path.relative_to(root).as_posix()
        summary.update(f"{name}\0{_tree_text(path.read_text())}\0".encode())
    return summary.hexdigest()[:16]


def source_closure(entry: Path, root: Path) -> list[Path]:
    """Return *entry* and each project file it imports, directly or through others, sorted."""
    pending, found = [entry], set[Path]()
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.add(path)
        pending += [
            file
            for name in imported_names(path)
            for file in _project_files(name, root)
            if file.relative_to(root).as_posix() not in PLUMBING
        ]
    return sorted(found)


def imported_names(path: Path) -> tuple[str, ...]:
    """Return the dotted names that the file *path* imports, wherever in the file it does so.

    Raises:
        ValueError: for a relative import, which the walk cannot place.
    """
    try:
        return _names_in(path.read_text())
    except SyntaxError as error:
        error.filename = str(path)
        raise
    except ValueError as error:
        raise ValueError(f"{path}:{error}") from None


@functools.cache
def _names_in(source: str) -> tuple[str, ...]:
    """Return the names that *source* imports; remembered, as the programs share their modules."""
    names: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{node.lineno}: relative imports are not allowed")
            names |= dict.fromkeys(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(names)


def _project_files(name: str, root: Path) -> Iterator[Path]:
    """Yield the project files that importing the dotted *name* runs."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:length])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                yield file
        if not base.is_dir():
            return


@functools.cache
def _tree_text(source: str) -> str:
    """Return the syntax tree of *source* as text, without docstrings.

    Remembered, since many programs import the same module.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [item for item in node.body if not _is_bare_string(item)]
    return ast.dump(tree)


def _is_bare_string(node: ast.stmt) -> bool:
    """Tell whether *node* is a string that stands alone: a docstring, or one of an attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )

"""What code decides the bytes of an artifact: a program, what it imports, data files beside them.

A digest is of contents. An import counts as the name that is imported and the digest of what that
names, and a module object goes by the digest of its module; imports that follow one another have no
order. So a module that moves, a package of another name and imports sorted another way change
nothing, while a constant that is changed changes all that reach it. An import that moves to another
place, or goes by another name, counts as a change.

A benchmark kind's own modules count only for artifacts of that kind: the registry
(benchmarks/kinds.py) names them as data, and the one for the program's rule is added where a kind
is given.

Limits: an import by string is invisible (only the registry does it, and a test looks for others). A
file that is not Python counts where a module names it that lies beside it; any other must be an
input or stand in an artifact's spec.
"""

import ast
import functools
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from scripts.lib.benchmarks.kinds import modules_of

PLUMBING: Mapping[str, str] = {
    "scripts/lib/machine/cuda_driver.py": "cuda_driver",
    "scripts/lib/errors.py": "errors",
    "scripts/lib/jobs/job.py": "job",
    "scripts/lib/progress.py": "progress",
    "scripts/lib/benchmarks/kinds.py": "kinds",
}
"""Project files that decide no byte of an artifact: command lines, logging, error classes, and the
registry of kinds, whose modules are counted where they are used. Each with the word that stands for
it in the digests of its importers: when a file moves, its word stays.

They stay out of every digest, and the walk does not go through them.
`tests/unit/artifacts/test_code_of_stages.py` holds the reasons and checks that no stage's logic
hides behind one of them."""

_DATA_FILE = re.compile(r"[\w-]+(\.[\w-]+)+")


@dataclass(frozen=True)
class Import:
    """One imported name: all of it, and the name that it binds; empty where that is its first."""

    name: str
    alias: str


@dataclass(frozen=True)
class Source:
    """What the text of a module says.

    Attributes:
        text: The syntax tree without docstrings. A name that is imported stands between NULs. In
            the place of imports that follow one another stand their numbers between SOHs.
        imports: What is imported, by number.
        rebound: Imported names that also mean something else somewhere in the file.
        strings: Those that could be names of files.
    """

    text: str
    imports: tuple[Import, ...]
    rebound: frozenset[str]
    strings: frozenset[str]

    def bound_twice(self) -> str:
        """Return a name that imports beside each other give two meanings; empty where none has."""
        for run in re.findall("\1([^\1]*)\1", self.text):
            seen: dict[str, str] = {}
            for one in (self.imports[int(number)] for number in run.split()):
                if seen.setdefault(one.alias, one.name) != one.name and one.alias:
                    return one.alias
        return ""


@dataclass(frozen=True)
class _Module:
    """A module of the project: the digest with all it reaches, its own, and what it imports."""

    digest: str
    own: str
    imports: tuple[Path, ...]


class ProjectCode:
    """The code below a folder as it stands; each file is read once."""

    def __init__(self, root: Path) -> None:
        """Remember the folder that imports start from."""
        self.root = root
        self._modules: dict[Path, _Module] = {}
        self._open: list[Path] = []
        self._packages: set[str] = set()
        self._is_file = functools.cache(lambda place: os.path.isfile(f"{root}/{place}"))

    def digest(self, rule: str, kinds: Iterable[str] = ()) -> str:
        """Return 16 hex digits that change when the behaviour of a rule's program can.

        Args:
            rule: The program is scripts/<rule>.py.
            kinds: The benchmark kinds of the artifact.

        Raises:
            SyntaxError: when a file does not parse.
            ValueError: when an import cannot be followed; says where.
        """
        program, *own = [self._module(path).digest for path in self._entries(rule, kinds)]
        return _short("\0".join([program, *sorted(own)]))

    def program(self, rule: str) -> Path:
        """Return the file of a rule's program."""
        return self._place(f"scripts.{rule}")

    def digest_of(self, path: Path) -> str:
        """Return the digest of one module with all that it imports."""
        return self._module(path).digest

    def closure(self, path: Path) -> list[Path]:
        """Return *path* and each project file that it imports, directly or through others."""
        pending, found = [path], set[Path]()
        while pending:
            if (one := pending.pop()) not in found:
                found.add(one)
                pending += self._module(one).imports
        return sorted(found)

    def modules(self, rule: str, kinds: Iterable[str] = ()) -> dict[str, str]:
        """Return module -> its own digest, without what it imports, of all that `digest` counts."""
        paths = {one for path in self._entries(rule, kinds) for one in self.closure(path)}
        names = {path: path.relative_to(self.root).with_suffix("") for path in paths}
        return {".".join(names[path].parts): self._module(path).own for path in sorted(paths)}

    def _entries(self, rule: str, kinds: Iterable[str]) -> list[Path]:
        """Return the program and the modules of the kinds for it."""
        return [self.program(rule), *map(self._place, modules_of(rule, kinds))]

    def _place(self, module: str) -> Path:
        return self.root.joinpath(*module.split(".")).with_suffix(".py")

    def _module(self, path: Path) -> _Module:
        """Return what is known of the module in a file."""
        if path not in self._modules:
            if path in self._open:
                circle = [*self._open[self._open.index(path) :], path]
                names = " -> ".join(one.name for one in circle)
                raise ValueError(f"modules import each other: {names}")
            self._open.append(path)
            self._modules[path] = self._read(path)
            self._open.pop()
        return self._modules[path]

    def _read(self, path: Path) -> _Module:
        source = read_source(path)
        if twice := source.bound_twice():
            raise ValueError(f"{path}: {twice} is imported twice, from different places")
        meant, named, modules, files = [], [], {}, []
        for one in source.imports:
            name = one.name.rpartition(".")[2]
            named.append(f"{name} as {one.alias}")
            target = self._target(one, path)
            if target is None:
                meant.append(f"{one.name} as {one.alias}")
                continue
            place, whole = target
            if place in PLUMBING:
                digest = PLUMBING[place]
            else:
                files.append(self.root / place)
                digest = self._module(files[-1]).digest
            if not whole:
                meant.append(f"{name} as {one.alias} of {digest}")
            elif one.alias in source.rebound:
                meant.append(f"module {digest} as {one.alias}")
            else:
                modules[one.alias] = f"<module {digest}>"
                meant.append(modules[one.alias])
        data = [f"{name} {_sha256(path.parent / name)}" for name in self._data(path, source)]
        return _Module(
            digest=_sha256_of("\0".join([_filled(source.text, modules, meant), *data])),
            own=_short("\0".join([_filled(source.text, {}, named), *data])),
            imports=tuple(dict.fromkeys(files)),
        )

    def _data(self, path: Path, source: Source) -> list[str]:
        """Return the data files that lie beside a module and that it names."""
        return sorted(name for name in source.strings if (path.parent / name).is_file())

    def _target(self, one: Import, importer: Path) -> tuple[str, bool] | None:
        """Return the project file that is imported from, and whether it is imported itself.

        Asked of thousands of imports: places are texts from the root, and looked for once.

        Returns:
            None for what is no part of the project.
        """
        parts = one.name.split(".")
        if not self._is_file(f"{parts[0]}/__init__.py"):
            return None
        for length in range(len(parts), 1, -1):
            place = f"{'/'.join(parts[:length])}.py"
            if self._is_file(place):
                if not one.alias:
                    raise ValueError(
                        f"{importer}: `import {one.name}` cannot be followed; write `from"
                        f" {'.'.join(parts[:-1])} import {parts[-1]}`"
                    )
                for above in range(1, length):
                    self._check_package("/".join(parts[:above]))
                return place, length == len(parts)
        raise ValueError(f"{importer}: {one.name} is nothing in this project")

    def _check_package(self, package: str) -> None:
        """Refuse a package that runs code of its own, which no digest would see."""
        if package in self._packages:
            return
        file = self.root / package / "__init__.py"
        if file.is_file() and read_source(file).text != "(Module)":
            raise ValueError(f"{file} holds more than a docstring: move the code to a module")
        self._packages.add(package)


def read_source(path: Path) -> Source:
    """Return what the Python file *path* says.

    Raises:
        SyntaxError: when it does not parse.
        ValueError: for a relative import, which cannot be followed.
    """
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        error.filename = str(path)
        raise
    except ValueError as error:
        raise ValueError(f"{path}:{error}") from None


@functools.cache
def _parse(source: str) -> Source:
    """Do what `read_source` says of a text; remembered, as the programs share their modules."""
    tree = ast.parse(source)
    imports: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            numbers = [len(imports) + place for place in range(len(node.names))]
            imports += _imported(node)
            node.numbers = numbers  # type: ignore[union-attr]  # found again where it is printed
    aliases = frozenset(one.alias for one in imports)
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    return Source(
        "".join(_words(tree, aliases)),
        tuple(imports),
        aliases & {name for node in ast.walk(tree) for name in _bound(node)},
        frozenset(s for s in strings if isinstance(s, str) and _DATA_FILE.fullmatch(s)),
    )


def _imported(node: ast.Import | ast.ImportFrom) -> list[Import]:
    """Return what one statement imports."""
    if isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"{node.lineno}: relative imports are not allowed")
        if node.names[0].name == "*":
            raise ValueError(f"{node.lineno}: what `import *` brings in has no name to count")
        return [Import(f"{node.module}.{one.name}", one.asname or one.name) for one in node.names]
    # Without `as`, a dotted import binds its first name only.
    plain = [one.name if "." not in one.name else "" for one in node.names]
    return [Import(o.name, o.asname or own) for o, own in zip(node.names, plain, strict=True)]


_NAMED = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.ExceptHandler,
    ast.MatchAs,
    ast.MatchStar,
)


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node gives a meaning to, but for imports."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, _NAMED) and node.name:
        yield node.name


def _words(node: object, aliases: frozenset[str]) -> Iterator[str]:
    """Yield a syntax tree as text: the same for every version of Python that parses it alike.

    `ast.dump` prints fields that are empty, and newer versions have more of them.
    """
    if isinstance(node, ast.Name) and node.id in aliases:
        yield f"\0{node.id}\0"
    elif isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field in node._fields:
            value = getattr(node, field, None)
            # The context of a name follows from its place, the kind of a text is how it is written.
            if value is None or field in ("ctx", "kind", "type_comment"):
                continue
            words = "".join(_words(value, aliases))
            if words:
                yield f" {field}={words}"
        yield ")"
    elif isinstance(node, list):
        kept = [item for item in node if not _is_bare_string(item)]
        if kept:
            yield "["
            for importing, run in groupby(kept, lambda item: hasattr(item, "numbers")):
                if importing:
                    yield f"\1{' '.join(str(n) for item in run for n in item.numbers)}\1"
                else:
                    yield from (f"{''.join(_words(item, aliases))}," for item in run)
            yield "]"
    else:
        yield repr(node)


def _is_bare_string(node: object) -> bool:
    """Tell whether *node* is a string that stands alone: a docstring, or one of an attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _filled(text: str, modules: dict[str, str], meant: list[str]) -> str:
    """Return the text of a tree with its modules and its imports as they are meant.

    Args:
        text: Of a `Source`.
        modules: What stands for a name that is a module.
        meant: What stands for each import, by number.
    """
    text = re.sub("\0([^\0]*)\0", lambda match: modules.get(match[1], match[1]), text)
    return re.sub(
        "\1([^\1]*)\1",
        lambda match: "; ".join(sorted({meant[int(number)] for number in match[1].split()})),
        text,
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _short(text: str) -> str:
    return _sha256_of(text)[:16]

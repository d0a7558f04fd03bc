"""What code decides the bytes of an artifact: a program, what it imports, data files beside them.

A digest is of contents. An import statement is no text of it: it counts as the name that is
imported and the digest of what that names, and a module object goes by the digest of its module. So
a module that moves, a package of another name and imports in another order change nothing, while a
constant that is changed changes all that reach it.

A benchmark kind's own modules count only for artifacts of that kind: the registry (kinds.py) names
them as data, and the one for the program's rule is added where a kind is given.

Limits: an import by string is invisible (only the registry does it, and a test looks for others). A
file that is not Python counts where a module names it that lies beside it; any other must be an
input or stand in an artifact's spec.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.kinds import modules_of

PLUMBING: Mapping[str, str] = {
    "scripts/lib/cuda_driver.py": "cuda_driver",
    "scripts/lib/errors.py": "errors",
    "scripts/lib/job.py": "job",
    "scripts/lib/kinds.py": "kinds",
}
"""Project files that decide no byte of an artifact: command lines, logging, error classes, and the
registry of kinds, whose modules are counted where they are used. Each with the word that stands for
it in the digests of its importers: when a file moves, its word stays.

They stay out of every digest, and the walk does not go through them. `tests/unit/test_code.py`
holds the reasons and checks that no stage's logic hides behind one of them."""

_DATA_FILE = re.compile(r"[\w-]+(\.[\w-]+)+")


@dataclass(frozen=True)
class _Import:
    """One imported name: all of it, and the name that it binds."""

    name: str
    alias: str


@dataclass(frozen=True)
class _Source:
    """What the text of a module says.

    Attributes:
        text: The syntax tree without imports and docstrings; imported names stand between NULs.
        imports: What is imported, wherever in the file.
        strings: Those that could be names of files.
    """

    text: str
    imports: tuple[_Import, ...]
    strings: frozenset[str]


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
        self._packages: set[Path] = set()

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
        imported, named, modules, files = set(), set(), {}, []
        for one in source.imports:
            named.add(f"{one.name.rpartition('.')[2]} as {one.alias}")
            target = self._target(one, path)
            if target is None:
                imported.add(f"{one.name} as {one.alias}")
                continue
            file, whole = target
            place = file.relative_to(self.root).as_posix()
            if place in PLUMBING:
                digest = PLUMBING[place]
            else:
                files.append(file)
                digest = self._module(file).digest
            if whole:
                modules[one.alias] = f"<module {digest}>"
                imported.add(modules[one.alias])
            else:
                imported.add(f"{one.name.rpartition('.')[2]} as {one.alias} of {digest}")
        data = [f"{name} {_sha256(path.parent / name)}" for name in self._data(path, source)]
        text, own = _bound(source.text, modules), _bound(source.text, {})
        return _Module(
            digest=_sha256_of("\0".join([text, *sorted(imported), *data])),
            own=_short("\0".join([own, *sorted(named), *data])),
            imports=tuple(dict.fromkeys(files)),
        )

    def _data(self, path: Path, source: _Source) -> list[str]:
        """Return the data files that lie beside a module and that it names."""
        return sorted(name for name in source.strings if (path.parent / name).is_file())

    def _target(self, one: _Import, importer: Path) -> tuple[Path, bool] | None:
        """Return the project file that is imported from, and whether it is imported itself.

        Returns:
            None for what is no part of the project.
        """
        parts = one.name.split(".")
        if not (self.root / parts[0] / "__init__.py").is_file():
            return None
        for length in range(len(parts), 1, -1):
            file = self.root.joinpath(*parts[: length - 1], f"{parts[length - 1]}.py")
            if file.is_file():
                if not one.alias:
                    raise ValueError(
                        f"{importer}: `import {one.name}` cannot be followed; write `from"
                        f" {'.'.join(parts[:-1])} import {parts[-1]}`"
                    )
                for above in range(1, length):
                    self._check_package(self.root.joinpath(*parts[:above]))
                return file, length == len(parts)
        raise ValueError(f"{importer}: {one.name} is nothing in this project")

    def _check_package(self, package: Path) -> None:
        """Refuse a package that runs code of its own, which no digest would see."""
        if package in self._packages:
            return
        file = package / "__init__.py"
        if file.is_file() and read_source(file) != _Source("(Module)", (), frozenset()):
            raise ValueError(f"{file} holds more than a docstring: move the code to a module")
        self._packages.add(package)


def read_source(path: Path) -> _Source:
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
def _parse(source: str) -> _Source:
    """Do what `read_source` says of a text; remembered, as the programs share their modules."""
    tree = ast.parse(source)
    imports: list[_Import] = []
    strings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            # Without `as`, a dotted import binds its first name only.
            imports += [
                _Import(one.name, one.asname or (one.name if "." not in one.name else ""))
                for one in node.names
            ]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{node.lineno}: relative imports are not allowed")
            imports += [
                _Import(f"{node.module}.{one.name}", one.asname or one.name) for one in node.names
            ]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    named = frozenset(text for text in strings if _DATA_FILE.fullmatch(text))
    aliases = frozenset(one.alias for one in imports)
    return _Source("".join(_words(tree, aliases)), tuple(imports), named)


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
        kept = [item for item in node if not isinstance(item, ast.Import | ast.ImportFrom)]
        kept = [item for item in kept if not _is_bare_string(item)]
        if kept:
            yield "["
            for item in kept:
                yield from _words(item, aliases)
                yield ","
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


def _bound(text: str, modules: dict[str, str]) -> str:
    """Return the text of a tree with its modules in the place of the names that they go by."""
    return re.sub("\0([^\0]*)\0", lambda match: modules.get(match[1], match[1]), text)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _short(text: str) -> str:
    return _sha256_of(text)[:16]

"""Pins a config file: branches and tags of hub repositories become commits, in the file's own text.

Nothing but the revisions changes: comments, anchors, quotes and the order of keys stay as they are,
since values are replaced where the YAML reader says that they stand.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import yaml

from scripts.lib.errors import ConfigError

RepositoryKind = Literal["dataset", "model"]
Resolve = Callable[[str, str | None, RepositoryKind], str]
"""Repository, branch or tag (None: the newest commit) and kind -> the commit."""

PLACEHOLDER = "COMMIT"
"""What stands for a commit in examples: the newest is meant."""

_COMMIT = re.compile("[0-9a-f]{40}")
# Groups of the config whose repositories hold rows; all others hold models or adapters.
_OF_ROWS = ("datasets", "benchmarks")


@dataclass(frozen=True)
class Unpinned:
    """A revision that may move, or is not there.

    Attributes:
        repository: OWNER/NAME.
        kind: What it holds.
        name: The branch or tag; None where no revision is given.
        begin: Where the text is to change.
        end: Up to where; the same place where a revision is to be put in.
        before: What stands before a revision that is put in.
        noted: Whether there is room for a comment behind it that names the branch.
    """

    repository: str
    kind: RepositoryKind
    name: str | None
    begin: int
    end: int
    before: str = ""
    noted: bool = False


def unpinned(text: str) -> list[Unpinned]:
    """Return the revisions of a config's text that name no commit, in order.

    Raises:
        ConfigError: It is no YAML.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"this is no YAML: {error}") from error
    found = {one.begin: one for one in _below(root, (), text, set())}
    return [found[place] for place in sorted(found)]


def pinned(text: str, resolve: Resolve) -> tuple[str, list[tuple[Unpinned, str]]]:
    """Return a config's text with commits for all revisions, and what was pinned to which commit.

    Args:
        text: The text of the file.
        resolve: Asks the hub.

    Raises:
        ConfigError: It is no YAML, or a repository cannot be asked.
    """
    done = [(one, resolve(one.repository, one.name, one.kind)) for one in unpinned(text)]
    for one, commit in reversed(done):
        note = f" # {one.name}" if one.noted and one.name else ""
        # YAML takes 40 digits for a number.
        value = commit if isinstance(yaml.safe_load(commit), str) else f"'{commit}'"
        text = text[: one.begin] + one.before + value + note + text[one.end :]
    return text, done


def _below(
    node: yaml.Node | None, path: tuple[str, ...], text: str, seen: set[int]
) -> Iterator[Unpinned]:
    """Yield what is not pinned at a node of the file and below it; what has an anchor, once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _below(item, path, text, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    entries = {key.value: value for key, value in node.value if isinstance(key.value, str)}
    kind: RepositoryKind = "dataset" if path and path[0] in _OF_ROWS and len(path) == 2 else "model"
    hub = entries.get("hub")
    if isinstance(hub, yaml.ScalarNode) and "/" in hub.value:
        yield from _of_mapping(node, hub, entries, kind, text)
    if path[:1] == ("benchmarks",) and path[-1:] == ("revisions",):
        for repository, value in entries.items():
            if isinstance(value, yaml.ScalarNode) and not _COMMIT.fullmatch(value.value):
                yield _replacement(repository, "dataset", value, text)
    for name, value in entries.items():
        yield from _below(value, (*path, name), text, seen)


def _of_mapping(
    node: yaml.MappingNode,
    hub: yaml.ScalarNode,
    entries: dict[str, yaml.Node],
    kind: RepositoryKind,
    text: str,
) -> Iterator[Unpinned]:
    """Yield the revision of a mapping that names a repository, where it is no commit."""
    revision = entries.get("revision")
    if isinstance(revision, yaml.ScalarNode):
        if not _COMMIT.fullmatch(revision.value):
            yield _replacement(hub.value, kind, revision, text)
        return
    if "<<" in entries:  # what is merged in may bring it
        return
    end = hub.end_mark.index
    if node.flow_style:
        yield Unpinned(hub.value, kind, None, end, end, before=", revision: ")
        return
    column = next(key.start_mark.column for key, value in node.value if value is hub)
    line_end = text.find("\n", end)
    at = len(text) if line_end < 0 else line_end
    yield Unpinned(hub.value, kind, None, at, at, before=f"\n{' ' * column}revision: ")


def _replacement(
    repository: str, kind: RepositoryKind, value: yaml.ScalarNode, text: str
) -> Unpinned:
    begin, end = value.start_mark.index, value.end_mark.index
    rest = text[end:].partition("\n")[0]
    name = None if value.value in ("", PLACEHOLDER) else value.value
    return Unpinned(repository, kind, name, begin, end, noted=not rest.strip())

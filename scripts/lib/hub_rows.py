"""Rows of the hub, at the commit that was asked for and no other.

Where the hub's client cannot reach a repository at a commit, `datasets` takes what its cache holds
of that repository, whatever commit it is from. Here that is an error.
"""

import re
from typing import Any

from datasets import load_dataset

from scripts.lib.errors import ConfigError

# Rows of the hub lie in a cache folder that is named after their commit.
_COMMIT = re.compile(r"/([0-9a-f]{40})/")


def load_split(hub: str, name: str | None, split: str, revision: str) -> Any:
    """Return one split of a repository at a commit.

    Raises:
        ConfigError: It cannot be had.
    """
    try:
        rows = load_dataset(hub, name, split=split, revision=revision)
    # Whatever a library, a network or a file does: the text tells which repository it befell.
    except Exception as error:
        raise ConfigError(
            f"{hub} cannot be loaded at {revision} ({reason_of(error)}). Where the hub cannot be"
            " reached, bring the files along and name them by `path`"
        ) from error
    if fault := commit_fault(commits_of(rows), revision):
        raise ConfigError(f"{hub} {fault}")
    return rows


def commits_of(rows: Any) -> list[str]:
    """Return the commits that the rows of a split came from; none for local files."""
    caches = [file["filename"] for file in rows.cache_files]
    return sorted({match[1] for file in caches if (match := _COMMIT.search(file))})


def commit_fault(found: list[str], revision: str) -> str | None:
    """Say what is wrong with rows of these commits, or return None.

    Args:
        found: From `commits_of`.
        revision: The commit that was asked for.
    """
    if found == [revision]:
        return None
    return (
        f"could not be read at the commit {revision}: the cache of `datasets` gave"
        f" {', '.join(found) or 'rows of an unknown commit'} instead. Check that the hub has this"
        " commit, and fetch it where the hub can be reached"
    )


def reason_of(error: Exception) -> str:
    """Say in one line what went wrong in a library."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a word'}"[:300]
